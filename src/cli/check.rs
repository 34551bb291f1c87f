//! `flowlaunch check`: the findings, as a person or a program reads them.

use super::{Failed, out};
use crate::app;
use crate::check::{Finding, Findings};
use crate::config::Config;

/// Arguments of `flowlaunch check`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Each line begins with\n  \
    ok    it is as it should be\n  \
    FIX   something to do, said in the line (exit code 1)\n  \
    note  worth knowing; nothing to do\n  \
    ?     cannot be seen in this way, such as the permission to launch\n\n\
    It changes nothing on the broker and launches nothing.")]
pub(super) struct Args {
    /// Look also whether this flow is there and published.
    #[arg(long, value_name = "ID", value_parser = super::launch::flow_id)]
    flow_id: Option<String>,

    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Where text is broken, and where the details begin.
const WIDTH: usize = 80;
const INDENT: usize = 25;

pub(super) async fn run(config: Config, args: Args) -> Result<(), Failed> {
    let findings = app::check(&config, args.flow_id.as_deref()).await;
    if args.json {
        out::json(&findings)?;
    } else {
        out::print(text(&findings))?;
    }
    match findings.to_fix() {
        0 => Ok(()),
        broken => Err(Failed::Work(anyhow::anyhow!("{broken} to fix"))),
    }
}

fn text(findings: &Findings) -> String {
    findings.lines().iter().map(line).collect()
}

fn line(finding: &Finding) -> String {
    let mut text = format!("{:<5} {:<18}", finding.standing, finding.what);
    for (number, paragraph) in finding.detail.split('\n').enumerate() {
        // What is indented there is indented here.
        let indent = INDENT + paragraph.len() - paragraph.trim_start().len();
        let mut column = if number == 0 { INDENT - 1 } else { WIDTH };
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if column >= indent && column + 1 + length > WIDTH {
                text.push_str(&format!("\n{}", " ".repeat(indent - 1)));
                column = indent - 1;
            }
            text.push(' ');
            text.push_str(word);
            column += 1 + length;
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Standing;

    #[test]
    fn a_line_is_broken_at_80_columns_and_hangs_below_its_details() {
        let mut findings = Findings::default();
        findings.add(Standing::Fix, "topology", "word ".repeat(30));
        findings.add(Standing::Ok, "api", "x".repeat(90));
        let text = text(&findings);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("FIX   topology           word"), "{text}");
        assert!(lines[1].starts_with(&format!("{}word", " ".repeat(INDENT))), "{text}");
        assert!(lines[..3].iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        // A word longer than the line stands where it would have begun.
        assert_eq!(lines.last().unwrap().chars().count(), INDENT + 90, "{text}");
        assert_eq!(text.matches("word").count(), 30);
    }

    #[test]
    fn a_list_keeps_its_lines_and_their_indent() {
        let mut findings = Findings::default();
        findings.add(Standing::Ok, "configuration", "set in x:\n  a = 1\n  b = 2\nall else");
        let space = " ".repeat(INDENT);
        assert_eq!(
            text(&findings),
            format!("ok    configuration      set in x:\n{space}  a = 1\n{space}  b = 2\n{space}all else\n")
        );
    }
}
