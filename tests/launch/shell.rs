//! The completions and the manual, made of the same definitions as the command line.

use std::collections::BTreeSet;
use std::process::Command;

use super::common::worker::run;

#[test]
fn the_completions_are_scripts_that_their_shells_read() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, error) = run(&["completions", shell], folder.path(), "");
        assert_eq!((code, error.as_str()), (0, ""), "{shell}");
        for word in ["launch", "flow-id", "publish"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        std::fs::write(folder.path().join(shell), script).unwrap();
    }
    let checked = Command::new("bash")
        .arg("-n")
        .arg(folder.path().join("bash"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// Every subcommand with its long options, of all depths.
fn commands(command: &clap::Command, name: &str, all: &mut Vec<(String, BTreeSet<String>)>) {
    let options = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .map(str::to_owned);
    all.push((name.to_owned(), options.collect()));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        commands(below, &format!("{name}-{}", below.get_name()), all);
    }
}

#[test]
fn the_manual_has_every_command_with_all_of_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let (code, all, error) = run(&["man"], folder.path(), "");
    assert_eq!((code, error.as_str()), (0, ""));
    let (code, out, error) = run(&["man", "--dir", "."], folder.path(), "");
    assert_eq!((code, out.as_str(), error.as_str()), (0, "", ""));
    let mut known = Vec::new();
    commands(&flowlaunch::cli::command_line(), "flowlaunch", &mut known);
    assert!(known.len() > 10, "{known:?}");
    for (name, options) in known {
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
        assert!(all.contains(&page), "{name}: the whole manual has another page");
        for option in options {
            let wanted = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(page.contains(&wanted), "{name}: --{option} is not in\n{page}");
        }
        // What it refers to is there.
        for other in page.lines().filter_map(|line| line.strip_suffix("(1)")) {
            let other = other.replace('\\', "");
            assert!(folder.path().join(format!("{other}.1")).exists(), "{name}: {other}");
        }
    }
    let (code, _, error) = run(&["man", "--dir", "nowhere"], folder.path(), "");
    assert!(
        code == 1 && error.contains("cannot write the manual into nowhere"),
        "{error}"
    );
}
