//! `flowlaunch check`: the findings, as a person or a program reads them.

use super::Failed;
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

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(config: Config, args: Args) -> Result<(), Failed> {
    let findings = app::check(&config, args.flow_id.as_deref()).await;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        print!("{}", text(&findings));
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
    let mut column = text.chars().count();
    for word in finding.detail.split_whitespace() {
        if column > INDENT && column + 1 + word.chars().count() > WIDTH {
            text.push_str(&format!("\n{}", " ".repeat(INDENT - 1)));
            column = INDENT - 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.chars().count();
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
}
