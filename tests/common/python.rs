//! Programs that are not ours, in another language: `tests/python/`, with pika in a virtual environment of the tests'.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs `tests/python/<script>` to its end; its standard output. Panics, with what it said, when it fails.
pub fn python(script: &str, args: &[&str], stdin: &str) -> String {
    let Ok(interpreter) = std::env::var("FLOWLAUNCH_TEST_PYTHON") else {
        panic!("this test needs Python with pika: use tests/run");
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let mut child = Command::new(interpreter)
        .arg(path)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    // It may fail before it has read all: then the pipe breaks, and its own message says why.
    let feeder = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(
        output.status.success(),
        "{script} {args:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Publishes messages (see `publish_mixed.py` for what one may be) through pika, confirmed; its account of them.
pub async fn publish_mixed(url: &str, prefix: &str, messages: &[Value], more_args: &[&str]) -> Value {
    let lines: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let args: Vec<String> = [&["--url", url, "--prefix", prefix], more_args]
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect();
    let run = move || {
        python(
            "publish_mixed.py",
            &args.iter().map(String::as_str).collect::<Vec<_>>(),
            &lines,
        )
    };
    let summary = tokio::task::spawn_blocking(run).await.unwrap();
    serde_json::from_str(&summary).unwrap()
}

/// Takes everything out of a queue, whatever its bytes are: one object a message, see `drain.py`.
pub async fn drain(url: &str, queue: &str) -> Vec<Value> {
    let args = ["--url".to_owned(), url.to_owned(), queue.to_owned()];
    let run = move || python("drain.py", &args.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let lines = tokio::task::spawn_blocking(run).await.unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
