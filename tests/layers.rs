//! Who may import whom, and what only one module may do: the sentences of the house, held by a test.
//!
//! It reads the source, with comments, strings and test modules (`#[cfg(test)]`, `tests.rs`) taken out. What fails is named
//! by the sentence that was broken, the file and the line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const DOWNWARDS: &str = "imports go downwards only: main → cli → app → {worker, campaign, dlq, check, direct, admin} → \
     {broker, api, admit, retry, control, metrics} → {job, outcome, result}; any of them may count (metrics), and words of \
     the last layer may name each other";
const USE_CASES: &str = "use-cases (worker, campaign, dlq, check, direct, admin) never import each other";
const BROKER_BLIND: &str = "the broker moves bytes and headers and never sees a job";
const CONFIG: &str = "config gathers every component's Settings; only cli and app name it";
const HELPERS: &str = "telemetry and shutdown are helpers of main, cli and app, and import nothing of ours";
const SIMULATOR: &str = "the simulator imports nothing of ours, and only cli and app name it";
const PORTS: &str = "nothing under worker names lapin, rusqlite, reqwest or hyper";
const SETTLE: &str = "only worker::settle settles (brokers implement it)";
const ENVIRONMENT: &str = "only config reads the environment";
const SPAWN: &str = "only app and worker spawn, and broker and simulator for their own connections; always through a \
     tracker or a set, never bare";
const DOCUMENTED: &str = "every module begins with //!";
const PLACED: &str = "every module has a place in the layers (tests/layers.rs)";

/// The layers, from the top; what stands in a row does not import its neighbours.
const LAYERS: [&[&str]; 6] = [
    &["main"],
    &["cli"],
    &["app"],
    &["worker", "campaign", "dlq", "check", "direct", "admin"],
    &["broker", "api", "admit", "retry", "control", "metrics"],
    &["job", "outcome", "result", "units", "lane"],
];
const USE_CASE_LAYER: usize = 3;
const WORDS_LAYER: usize = 5;

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The sentence that this import breaks, if any.
fn broken_by_import(from: &str, to: &str) -> Option<&'static str> {
    let on_top = matches!(from, "main" | "cli" | "app");
    match (from, to) {
        _ if from == to => None,
        ("simulator", _) => Some(SIMULATOR),
        (_, "simulator") => (!on_top).then_some(SIMULATOR),
        ("telemetry" | "shutdown", _) => Some(HELPERS),
        ("config", _) if layer(to).is_some_and(|to| to >= USE_CASE_LAYER) => None,
        ("config", "telemetry" | "shutdown") => None,
        ("config", _) => Some(CONFIG),
        (_, "config") => (!matches!(from, "cli" | "app")).then_some(CONFIG),
        (_, "telemetry" | "shutdown") => (!on_top).then_some(HELPERS),
        ("broker", "job" | "result") => Some(BROKER_BLIND),
        _ => match (layer(from), layer(to)) {
            (None, _) | (_, None) => Some(PLACED),
            (Some(from), Some(to)) if from < to => None,
            (Some(WORDS_LAYER), Some(WORDS_LAYER)) => None,
            (Some(from), _) if to == "metrics" && from < WORDS_LAYER => None,
            (Some(USE_CASE_LAYER), Some(USE_CASE_LAYER)) => Some(USE_CASES),
            _ => Some(DOWNWARDS),
        },
    }
}

/// Names that only some modules may use: the sentence, the names, and who may.
type Ban = (&'static str, &'static [&'static str], fn(&File) -> bool);
const BANS: [Ban; 5] = [
    (
        PORTS,
        &[
            "lapin::",
            "rusqlite::",
            "reqwest::",
            "hyper::",
            "use lapin",
            "use rusqlite",
            "use reqwest",
            "use hyper",
        ],
        |f| f.top != "worker",
    ),
    (
        SETTLE,
        &[
            ".settle(",
            ".ack(",
            ".nack(",
            ".reject(",
            "basic_ack(",
            "basic_nack(",
            "basic_reject(",
        ],
        |f| {
            matches!(f.path, "src/worker/settle.rs" | "src/worker/settle/mod.rs")
                || matches!(f.top, "broker" | "simulator")
        },
    ),
    (
        ENVIRONMENT,
        &[
            "env::var",
            "Env::prefixed",
            "Env::raw",
            "args_os().env",
            "#[arg(env",
            ", env)]",
            ", env =",
            ", env,",
        ],
        |f| f.top == "config",
    ),
    (
        SPAWN,
        &[
            "tokio::spawn(",
            "task::spawn(",
            "thread::spawn(",
            "use tokio::spawn",
            "use std::thread::spawn",
        ],
        |_| false,
    ),
    (SPAWN, &[".spawn(", ".spawn_on("], |f| {
        matches!(f.top, "app" | "worker" | "broker" | "simulator")
    }),
];

struct File<'a> {
    /// From the repository's root: `src/worker/settle.rs`.
    path: &'a str,
    /// The first part of its module path: `worker`, `main`.
    top: &'a str,
    /// How many parts that path has.
    depth: usize,
}

impl<'a> File<'a> {
    fn new(path: &'a str) -> Self {
        let inner = path
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod");
        let top = inner.split('/').next().unwrap_or(inner);
        Self {
            path,
            top,
            depth: inner.split('/').count(),
        }
    }
}

/// Every broken sentence, with the places where it is broken.
fn check<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'static str, Vec<String>> {
    let mut broken: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (path, source) in files {
        let file = File::new(path);
        let mut complain = |sentence, line: usize, what: &str| {
            broken
                .entry(sentence)
                .or_default()
                .push(format!("{path}:{line}: {what}"));
        };
        if !source.trim_start().starts_with("//!") {
            complain(DOCUMENTED, 1, "has none");
        }
        let code = without_tests(&bare(source));
        for (sentence, names, may) in BANS {
            for (number, line) in code.lines().enumerate() {
                if let Some(name) = names.iter().find(|name| holds(line, name)).filter(|_| !may(&file)) {
                    complain(sentence, number + 1, name);
                }
            }
        }
        // lib.rs is the map: it names every module, once.
        if file.top == "lib" {
            continue;
        }
        for (at, module) in imports(&code, &file) {
            if let Some(sentence) = broken_by_import(file.top, &module) {
                let line = code[..at].matches('\n').count() + 1;
                complain(sentence, line, &format!("{} names crate::{module}", file.top));
            }
        }
    }
    broken
}

/// Does the line hold the name, and not merely as the end of a longer word?
fn holds(line: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name)
        .any(|(at, _)| !name.starts_with(word) || !line[..at].ends_with(word))
}

/// Every module of ours that the code names, `crate::x`, `super::x` or `flowlaunch::x`, alone or in braces, with its place.
fn imports(code: &str, file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "super::", "flowlaunch::"] {
        for (at, _) in code.match_indices(root) {
            let before = &code[..at];
            if before.ends_with("::") || before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let mut rest = &code[at + root.len()..];
            if root == "super::" {
                let mut up = 1;
                while let Some(further) = rest.strip_prefix("super::") {
                    (up, rest) = (up + 1, further);
                }
                // Not as far up as the crate's root: a neighbour within the module.
                if up < file.depth + modules_around(before) {
                    continue;
                }
            }
            found.extend(heads(rest).into_iter().map(|head| (at, head)));
        }
    }
    // What begins small is a module; a function or a type at the crate's root there is none.
    found.retain(|(_, name)| {
        name.starts_with(|c: char| c.is_ascii_lowercase()) && !matches!(name.as_str(), "super" | "self")
    });
    found
}

/// How many `mod x { … }` are open at the end of this code.
fn modules_around(code: &str) -> usize {
    let mut open = Vec::new();
    let mut begun = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                let head: Vec<&str> = code[begun..at].split_whitespace().collect();
                open.push(head.len() >= 2 && head[head.len() - 2] == "mod");
            }
            '}' => drop(open.pop()),
            _ => {}
        }
        if matches!(c, '{' | '}' | ';') {
            begun = at + 1;
        }
    }
    open.into_iter().filter(|&is_module| is_module).count()
}

/// `job::Job` is `job`; `{job, api::{a, b}}` is `job` and `api`.
fn heads(path: &str) -> Vec<String> {
    let ident = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![ident(path)];
    };
    let mut names = Vec::new();
    let (mut depth, mut fresh) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && depth == 0 && !c.is_whitespace() => {
                names.push(ident(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// The source with comments, strings and characters blanked, line for line.
fn bare(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = token_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { c } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment, string or character that begins at `at` ends; `at` itself when none does.
fn token_end(chars: &[char], at: usize) -> usize {
    let starts = |from: usize, text: &str| text.chars().enumerate().all(|(n, c)| chars.get(from + n) == Some(&c));
    let find = |from: usize, text: &str| (from..chars.len()).find(|&n| starts(n, text));
    let end_of = |found: Option<usize>, text: &str| found.map_or(chars.len(), |n| n + text.chars().count());
    if starts(at, "//") {
        return find(at, "\n").unwrap_or(chars.len());
    }
    if starts(at, "/*") {
        return end_of(find(at + 2, "*/"), "*/");
    }
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if chars[at] == 'r' && (!in_word || chars[at - 1] == 'b') {
        let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
        if chars.get(at + 1 + hashes) == Some(&'"') {
            let close = format!("\"{}", "#".repeat(hashes));
            return end_of(find(at + 2 + hashes, &close), &close);
        }
    }
    if chars[at] == '"' {
        let mut n = at + 1;
        while n < chars.len() && chars[n] != '"' {
            n += if chars[n] == '\\' { 2 } else { 1 };
        }
        return (n + 1).min(chars.len());
    }
    // A character, and not a lifetime.
    if chars[at] == '\'' && chars.get(at + 1) == Some(&'\\') {
        return end_of(find(at + 3, "'"), "'");
    }
    if chars[at] == '\'' && chars.get(at + 2) == Some(&'\'') {
        return at + 3;
    }
    at
}

/// Blanks what stands under `#[cfg(test)]`, up to the end of its braces (or its semicolon). Takes bare code.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let mut depth = 0;
        let end = out[start..].char_indices().find_map(|(n, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0 && matches!(c, '}' | ';')).then_some(start + n + 1)
        });
        let end = end.unwrap_or(out.len());
        let blank: String = out[start..end]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        out.replace_range(start..end, &blank);
    }
    out
}

fn told(broken: &BTreeMap<&'static str, Vec<String>>) -> String {
    let mut text = String::new();
    for (sentence, places) in broken {
        write!(text, "\n{sentence}:\n  {}\n", places.join("\n  ")).expect("a string takes all");
    }
    text
}

fn sources(folder: &Path, root: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("the source is there") {
        let path = entry.expect("the source is there").path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, root, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path
                .strip_prefix(root)
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            into.push((name, std::fs::read_to_string(&path).expect("the source is text")));
        }
    }
}

#[test]
fn the_source_keeps_the_sentences_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), root, &mut files);
    files.sort();
    let broken = check(files.iter().map(|(path, source)| (path.as_str(), source.as_str())));
    assert!(broken.is_empty(), "{}", told(&broken));
}

/// What the checker says of one made-up file, `//!` given.
#[cfg(test)]
fn said(path: &str, code: &str) -> Vec<(&'static str, String)> {
    let source = format!("//! A module.\n{code}");
    let broken = check([(path, source.as_str())]);
    broken
        .into_iter()
        .flat_map(|(sentence, places)| places.into_iter().map(move |place| (sentence, place)))
        .collect()
}

#[test]
fn each_sentence_can_be_seen_to_break() {
    for (path, code, sentence) in [
        ("src/job.rs", "use crate::worker::Worker;", DOWNWARDS),
        ("src/api/client.rs", "use crate::admit::Gate;", DOWNWARDS),
        ("src/api/mod.rs", "fn f() { super::worker::run() }", DOWNWARDS),
        ("src/api/token/mint.rs", "use super::super::super::worker;", DOWNWARDS),
        (
            "src/worker/mod.rs",
            "use crate::{\n    job::Job,\n    admin::Status,\n};",
            USE_CASES,
        ),
        ("src/broker/mod.rs", "fn decode() -> crate::job::Job {}", BROKER_BLIND),
        ("src/worker/mod.rs", "use crate::config::Config;", CONFIG),
        ("src/config.rs", "use crate::cli::Args;", CONFIG),
        ("src/worker/mod.rs", "crate::shutdown::now();", HELPERS),
        ("src/telemetry.rs", "use crate::metrics;", HELPERS),
        ("src/simulator/mod.rs", "use crate::api::Receipt;", SIMULATOR),
        ("src/simulator/rules.rs", "use super::super::job;", SIMULATOR),
        ("src/worker/mod.rs", "use crate::simulator::Rules;", SIMULATOR),
        ("src/worker/attempt.rs", "fn f(e: &lapin::Error) {}", PORTS),
        ("src/worker/mod.rs", "delivery.settle(verdict).await;", SETTLE),
        ("src/cli/publish.rs", "delivery.ack(options).await;", SETTLE),
        ("src/api/mod.rs", "let proxy = std::env::var(name);", ENVIRONMENT),
        ("src/cli/mod.rs", "#[arg(long, env = \"X\")]", ENVIRONMENT),
        ("src/worker/mod.rs", "tokio::spawn(async {});", SPAWN),
        ("src/api/mod.rs", "tracker.spawn(async {});", SPAWN),
        ("src/stranger.rs", "use crate::job::Job;", PLACED),
    ] {
        let said = said(path, code);
        assert_eq!(
            said.iter().map(|(sentence, _)| *sentence).collect::<Vec<_>>(),
            [sentence],
            "{path}: {code}"
        );
    }
    let undocumented = check([("src/job.rs", "pub struct Job;")]);
    assert_eq!(undocumented.into_keys().collect::<Vec<_>>(), [DOCUMENTED]);
}

#[test]
fn the_place_is_named() {
    let said = said(
        "src/worker/mod.rs",
        "\n/* two\nlines */ use crate::job::Job;\nuse crate::{job::Job, admin::Status};",
    );
    assert_eq!(
        said,
        [(USE_CASES, "src/worker/mod.rs:5: worker names crate::admin".to_owned())]
    );
}

#[test]
fn what_is_allowed_is_not_complained_of() {
    for (path, code) in [
        ("src/main.rs", "fn main() { flowlaunch::cli::run() }"),
        (
            "src/cli/publish.rs",
            "use crate::{app, broker::Publish, config::Config, job::Job, simulator};",
        ),
        (
            "src/config.rs",
            "use crate::{admin, api, broker, worker::Settings, telemetry}; fn f() { std::env::vars() }",
        ),
        (
            "src/api/client.rs",
            "use super::token::Token;\nuse crate::metrics;\nuse crate::outcome::Failure;",
        ),
        ("src/result.rs", "use crate::outcome::Verdict;"),
        (
            "src/units.rs",
            "pub mod duration {\n    fn f() { super::parse_duration() }\n}",
        ),
        (
            "src/worker/settle.rs",
            "use crate::broker::Delivery; fn f() { delivery.settle(verdict) }",
        ),
        ("src/worker/mod.rs", "self.tracker.spawn(async {});"),
        (
            "src/broker/amqp/mod.rs",
            "use lapin::Channel; fn f() { acker.ack(options); tracker.spawn(x) }",
        ),
        (
            "src/simulator/mod.rs",
            "use crate::simulator::rules; use self::limit::Limit; use super::simulator;",
        ),
        (
            "src/job.rs",
            "// use crate::worker;\nconst A: &str = \"crate::worker\"; const B: &str = r#\"crate::\"app\"#; /// [`crate::app`]",
        ),
        (
            "src/job.rs",
            "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }\n#[cfg(test)]\nmod tests { use crate::app; fn f() { tokio::spawn(x) } }",
        ),
    ] {
        assert_eq!(said(path, code), [], "{path}: {code}");
    }
}
