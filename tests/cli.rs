//! Bad input: one clear line that names the thing and the mend, the exit code that is written down, nothing half done.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here and says why")]

mod common;

use std::net::TcpListener;
use std::path::Path;

use common::worker::run;
use common::{Amqp, Prefix, Published, Sim, Worker, shared};
use lapin::options::ExchangeDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use tempfile::TempDir;
use url::Url;

const JOB: &str = "{\"flowId\": \"0f5e4b1c-0000-4000-8000-000000000001\", \"id\": \"one\"}\n";
/// The commands that need a broker; a worker that starts is not expected here.
const BROKER: [&[&str]; 4] = [
    &["worker"],
    &["publish", "jobs.jsonl"],
    &["topology", "apply"],
    &["check"],
];

const LAUNCH: [&str; 3] = ["launch", "--flow-id", "0f5e4b1c-0000-4000-8000-000000000001"];

/// A folder with a jobs file and a configuration that would do, but for the lines given.
struct Place(TempDir);

impl Place {
    fn new(broker: &str, prefix: &str, more: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("jobs.jsonl", JOB);
        place.configure(broker, prefix, more);
        place
    }

    fn configure(&self, broker: &str, prefix: &str, more: &str) {
        // Port 0: a start that goes further than it should takes no port.
        self.write(
            "flowlaunch.toml",
            &format!(
                "broker.url = \"{broker}\"\nbroker.prefix = \"{prefix}\"\napi.base_url = \"http://127.0.0.1:1\"\n\
                 api.login_url = \"http://127.0.0.1:1\"\napi.client_id = \"demo\"\napi.client_secret = \"demo-secret\"\n\
                 admin.listen = \"127.0.0.1:0\"\n{more}"
            ),
        );
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs it, and holds what it says to what every error has to be: short, of one line, no panic, no chain of causes.
    fn says(&self, args: &[&str], code: i32, wanted: &[&str]) -> String {
        let (ended, out, err) = run(args, self.path(), "");
        let said = if args[0] == "check" && code == 1 { &out } else { &err };
        // `check` breaks its lines at 80 columns.
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(ended, code, "{args:?}: {out}{err}");
        for text in wanted {
            assert!(flat.contains(text), "{args:?} does not say {text:?}: {out}{err}");
        }
        for text in [
            "panicked",
            "RUST_BACKTRACE",
            "Caused by",
            "Error {",
            "Some(",
            "demo-secret",
        ] {
            assert!(!err.contains(text) && !out.contains(text), "{args:?}: {out}{err}");
        }
        assert_eq!(err.trim_end().lines().count(), 1, "{args:?}: {err}");
        assert!(err.starts_with("flowlaunch: "), "{args:?}: {err}");
        flat
    }
}

/// The broker's URL with one thing about it changed.
fn with(url: &str, change: impl FnOnce(&mut Url)) -> String {
    let mut url = Url::parse(url).unwrap();
    change(&mut url);
    url.into()
}

#[test]
fn a_url_that_is_none_is_named_with_what_it_should_look_like() {
    for (url, wanted) in [
        ("http://host", "must be amqp://…, amqps://… or sqlite:PATH"),
        ("amqp://", "names no host"),
        ("amqp://guest:a/b@host", "in a password write %40 for @"),
        ("sqlite:", "names no file: sqlite:PATH"),
        ("sqlite::memory:", "means something else than a file"),
        ("sqlite:file:jobs.db?mode=memory", "means something else than a file"),
    ] {
        let place = Place::new(url, "t", "");
        for args in BROKER {
            let said = place.says(args, 2, &["broker.url (from flowlaunch.toml, line 1)", wanted]);
            assert!(!said.contains("a/b"), "{said}");
        }
    }
    let (code, _, err) = run(&["worker"], tempfile::tempdir().unwrap().path(), "");
    assert!(code == 2 && err.lines().count() == 1, "{code}: {err}");
}

#[test]
fn an_api_url_that_is_none_is_named_with_what_it_should_look_like() {
    for (url, wanted) in [
        (
            "nonsense",
            "is not a URL (relative URL without a base): it looks like https://HOST",
        ),
        ("ftp://host", "must be https://HOST"),
        ("https://demo:hunter2@host", "must not hold a user or a password"),
        ("https://host/?hunter2", "must not hold a query"),
        ("https://host/api/v2", "must be the host alone"),
        ("https://host/oauth/token", "must be the host alone"),
    ] {
        let place = Place::new("amqp://127.0.0.1:1", "t", "");
        for key in ["api.base_url", "api.login_url"] {
            for args in [&["worker"][..], &["check"], &LAUNCH, &["flows"]] {
                let flag = format!("{key}={url}");
                let said = place.says(
                    &[args, &["--set", &flag]].concat(),
                    2,
                    &[&format!("{key} (from the flag --set): {wanted}")],
                );
                assert!(!said.contains("hunter2"), "{said}");
            }
        }
    }
    let place = Place::new("amqp://127.0.0.1:1", "t", "");
    let wanted = [
        "the token endpoint at 127.0.0.1:1 cannot be reached",
        "Check api.region or api.login_url",
    ];
    place.says(&LAUNCH, 1, &wanted);
    // A read is tried again, each time with a line.
    let (code, said, error) = run(&["flows"], place.path(), "");
    assert!(code == 1 && said.is_empty(), "{code}: {said}");
    let last = error.lines().last().unwrap_or_default();
    assert!(wanted.iter().all(|wanted| last.contains(wanted)), "{error}");
}

#[test]
fn a_broker_that_nobody_reaches_is_named_with_host_and_port() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = deaf.local_addr().unwrap();
    drop(deaf);
    let place = Place::new(&format!("amqp://guest:guest@{nobody}/%2f"), "t", "");
    for args in &BROKER[1..] {
        place.says(
            args,
            1,
            &[
                &format!("cannot reach the broker at amqp://{nobody}"),
                "Check host and port in broker.url",
            ],
        );
    }
    place.configure("amqp://guest:guest@nobody.invalid/%2f", "t", "");
    place.says(
        &["topology", "apply"],
        1,
        &["nobody.invalid:5672", "Check host and port in broker.url"],
    );
    // TLS where there is none, as one who took the wrong port has it.
    let plain = with(shared().url(), |url| url.set_scheme("amqps").unwrap());
    place.configure(&plain, "t", "");
    place.says(&["topology", "apply"], 1, &["5672 with amqp://, 5671 with amqps://"]);
}

#[tokio::test]
async fn a_worker_waits_for_a_broker_that_is_away_and_says_so_in_readyz() {
    let mut worker = Worker::builder(
        "amqp://guest:guest@127.0.0.1:1/%2f",
        "t",
        "http://127.0.0.1:1",
        "http://127.0.0.1:1",
    )
    .spawn();
    let reason = worker
        .wait_readyz("readyz to name the broker", |status, body| {
            status == 503 && body.contains("cannot reach")
        })
        .await;
    assert!(reason.contains("127.0.0.1:1"), "{reason}");
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}

#[test]
fn a_wrong_password_and_a_wrong_vhost_are_told_apart() {
    let node = shared();
    let user = Url::parse(node.url()).unwrap().username().to_owned();
    let wrong = with(node.url(), |url| url.set_password(Some("hunter2")).unwrap());
    let place = Place::new(&wrong, "t", "");
    for args in BROKER {
        let said = place.says(
            args,
            1,
            &[
                &format!("refuses the login of user {user}"),
                "check user and password in broker.url",
            ],
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    place.configure(&with(node.url(), |url| url.set_path("nowhere")), "t", "");
    for args in BROKER {
        place.says(
            args,
            1,
            &["refuses virtual host nowhere", "check the end of broker.url"],
        );
    }
}

#[tokio::test]
async fn a_queue_or_exchange_with_other_arguments_is_named_with_the_argument_and_both_values() {
    let node = shared();
    let prefix = Prefix::new(&node, "cli-differs");
    let amqp = Amqp::connect(node.url()).await;
    let lane = format!("{prefix}.jobs.normal");
    let mut arguments = FieldTable::default();
    for (name, value) in [
        ("x-dead-letter-exchange", format!("{prefix}.dead")),
        ("x-dead-letter-strategy", "at-least-once".to_owned()),
        ("x-overflow", "reject-publish".to_owned()),
    ] {
        arguments.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(7));
    amqp.declare_with(&lane, "quorum", arguments).await;
    assert_eq!(
        amqp.publish("", &lane, JOB.as_bytes(), BasicProperties::default())
            .await,
        Published::Confirmed
    );
    let place = Place::new(node.url(), prefix.name(), "");
    for args in BROKER {
        place.says(
            args,
            1,
            &[
                &format!("queue {lane}"),
                "x-delivery-limit",
                "'20'",
                "'7'",
                "broker.prefix",
            ],
        );
    }
    assert_eq!(
        amqp.count(&lane).await,
        Some(1),
        "a start that failed has consumed, or published"
    );
    assert_eq!(amqp.standing(prefix.name()).await, [format!("queue {lane}")]);

    let other = Prefix::new(&node, "cli-exchange");
    let exchange = format!("{other}.due");
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    amqp.channel()
        .exchange_declare(
            exchange.as_str().into(),
            ExchangeKind::Fanout,
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    place.configure(node.url(), other.name(), "");
    for args in BROKER {
        place.says(
            args,
            1,
            &[&format!("exchange {exchange}"), "argument type", "'topic'", "'fanout'"],
        );
    }
    assert_eq!(
        amqp.standing(other.name()).await,
        [format!("exchange {exchange}")],
        "something was made beside what stands otherwise"
    );
}

#[tokio::test]
async fn verify_names_the_queue_that_is_missing_and_makes_nothing() {
    let node = shared();
    let prefix = Prefix::new(&node, "cli-verify");
    let place = Place::new(node.url(), prefix.name(), "broker.declare = \"verify\"\n");
    let lane = format!("{prefix}.jobs.normal");
    let amqp = Amqp::connect(node.url()).await;
    for args in [BROKER[0], BROKER[1], BROKER[3]] {
        place.says(args, 1, &["missing", "flowlaunch topology apply"]);
    }
    assert!(amqp.standing(prefix.name()).await.is_empty());
    // Told to make it, it does, whatever the workers are told; only a missing queue is then complained about.
    assert_eq!(run(&["topology", "apply"], place.path(), "").0, 0);
    amqp.channel()
        .queue_delete(lane.as_str().into(), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
    for args in [BROKER[0], BROKER[1], BROKER[3]] {
        place.says(
            args,
            1,
            &[&format!("queue {lane} is missing"), "flowlaunch topology apply"],
        );
    }
    assert_eq!(amqp.count(&lane).await, None);
}

#[test]
fn a_wrong_setting_is_named_with_its_source_and_the_nearest() {
    let place = Place::new("amqp://127.0.0.1:1", "t", "limits.rte = \"1/s\"\n");
    for args in [
        &["worker"][..],
        &["publish", "jobs.jsonl"],
        &["topology", "show"],
        &["topology", "apply"],
        &["check"],
        &LAUNCH,
        &["flows"],
    ] {
        place.says(
            args,
            2,
            &["limits.rte (from flowlaunch.toml, line 8)", "did you mean limits.rate?"],
        );
        place.configure("amqp://127.0.0.1:1", "t", "limits.concurrency = 0\n");
        place.says(
            args,
            2,
            &[
                "limits.concurrency (from flowlaunch.toml, line 8)",
                "must be from 1 to 10000, not 0",
            ],
        );
        place.configure("amqp://127.0.0.1:1", "t", "");
        let flag = [args, &["--set", "limits.rte=1/s"]].concat();
        place.says(
            &flag,
            2,
            &["limits.rte (from the flag --set)", "did you mean limits.rate?"],
        );
        let flag = [args, &["--set", "retry.max_attempts=101"]].concat();
        place.says(
            &flag,
            2,
            &[
                "retry.max_attempts (from the flag --set)",
                "must be from 1 to 100, not 101",
            ],
        );
        let output = common::flowlaunch()
            .args(args)
            .current_dir(place.path())
            .env("FLOWLAUNCH_BROKER_URL", "amqp://x")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("FLOWLAUNCH_BROKER_URL: use two underscores: FLOWLAUNCH_BROKER__URL"),
            "{said}"
        );
        place.configure("amqp://127.0.0.1:1", "t", "limits.rte = \"1/s\"\n");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new("amqp://127.0.0.1:1", "t", "");
    place.says(
        &["worker", "--config", "none.toml"],
        2,
        &["none.toml: cannot be read: No such file"],
    );
    place.write("broken.toml", "[limits\nrate = 1");
    place.says(
        &["worker", "--config", "broken.toml"],
        2,
        &["broken.toml, line 1: is not valid TOML"],
    );
    place.says(&["publish", "none.jsonl"], 2, &["cannot read none.jsonl: No such file"]);
    place.says(&["publish", "."], 2, &["cannot read .: it is a folder"]);
    place.says(&["simulator", "--rules", "none.json"], 2, &["cannot read none.json"]);
    place.says(
        &["simulator", "--rules", "broken.toml"],
        2,
        &["broken.toml is not JSON"],
    );
    place.says(&["simulator", "--flows", "none.json"], 2, &["cannot read none.json"]);
    place.says(
        &["simulator", "--flows", "jobs.jsonl"],
        2,
        &["jobs.jsonl: not a list of flows"],
    );
    for (file, wanted) in [
        ("none.json", "cannot read none.json: No such file"),
        ("broken.toml", "broken.toml: must hold one JSON object"),
    ] {
        place.says(&[&LAUNCH[..], &["--inputs", file]].concat(), 2, &[wanted]);
    }
    place.write("cert.pem", "-----BEGIN CERTIFICATE-----\n");
    place.write("key.pem", "-----BEGIN PRIVATE KEY-----\n");
    for (key, file, more, wanted) in [
        ("broker.ca_file", "none.pem", "", "none.pem cannot be read"),
        (
            "broker.ca_file",
            "jobs.jsonl",
            "",
            "jobs.jsonl holds no certificate in PEM",
        ),
        (
            "broker.client_cert_file",
            "none.pem",
            "broker.client_key_file = \"key.pem\"\n",
            "none.pem cannot be read",
        ),
        (
            "broker.client_key_file",
            "none.pem",
            "broker.client_cert_file = \"cert.pem\"\n",
            "none.pem cannot be read",
        ),
    ] {
        place.configure("amqps://127.0.0.1:1", "t", &format!("{key} = \"{file}\"\n{more}"));
        for args in BROKER {
            place.says(args, 2, &[&format!("{key} (from flowlaunch.toml, line 8)"), wanted]);
        }
    }
    place.write("flowlaunch.toml", "broker.url_file = \"none\"\n");
    for args in BROKER {
        place.says(
            args,
            2,
            &["broker.url_file (from flowlaunch.toml, line 1)", "none cannot be read"],
        );
    }
    place.configure("amqp://127.0.0.1:1", "t", "api.ca_file = \"none.pem\"\n");
    for args in [&["worker"][..], &LAUNCH, &["flows"]] {
        place.says(
            args,
            2,
            &["api.ca_file (from flowlaunch.toml, line 8)", "none.pem cannot be read"],
        );
    }
    place.write(
        "flowlaunch.toml",
        "broker.url = \"amqp://127.0.0.1:1\"\napi.client_id = \"demo\"\napi.client_secret_file = \"none\"\n\
         api.inputs_field = \"inputs\"\n",
    );
    for args in [&["worker"][..], &LAUNCH, &["flows"]] {
        place.says(
            args,
            2,
            &[
                "api.client_secret_file (from flowlaunch.toml, line 3)",
                "none cannot be read",
            ],
        );
    }
}

#[test]
fn against_genesys_cloud_whoever_launches_wants_to_be_told_what_the_inputs_are_called() {
    let place = Place::new("amqp://127.0.0.1:1", "t", "");
    place.write(
        "flowlaunch.toml",
        "broker.url = \"amqp://127.0.0.1:1\"\napi.client_id = \"demo\"\napi.client_secret = \"demo-secret\"\n",
    );
    for args in [&["worker"][..], &LAUNCH] {
        place.says(
            args,
            2,
            &["api.inputs_field: is not set", "\"inputs\"", "\"inputData\""],
        );
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_setting_that_moves_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new("amqp://127.0.0.1:1", "t", "");
    let set = format!("admin.listen={address}");
    place.says(
        &["worker", "--set", &set],
        1,
        &[&address, "the port is in use", "admin.listen"],
    );
    place.says(
        &["simulator", "--listen", &address],
        1,
        &[&address, "in use", "--listen"],
    );
}

/// Those that clap refuses: it names the nearest word, and points to --help.
#[test]
fn wrong_usage_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for (args, wanted) in [
        (&["publsh"][..], "publish"),
        (&["publish", "--lane", "express"], "normal, bulk"),
        (&["publish", "--from-line", "0"], "counted from 1"),
        (&["worker", "--set", "limits.rate"], "KEY=VALUE"),
        (
            &["worker", "--set", "api.client_secret=x"],
            "use the environment or a file",
        ),
        (&["simulator", "--rate", "quick"], "300/min"),
        (&["simulator", "--set", "limits.rate=1/s"], "reads no settings"),
        (&["topology"], "show"),
        (&["launch"], "--flow-id"),
        (&["launch", "--flow-id", "order"], "must be a UUID such as"),
        (&["check", "--flow-id", "order"], "must be a UUID such as"),
        (&[&LAUNCH[..], &["--input", "name"]].concat(), "KEY=TEXT"),
        (
            &[&LAUNCH[..], &["--input", "n:=yes"]].concat(),
            "a text is given as n=TEXT",
        ),
        (&[], "worker"),
    ] {
        let (code, out, err) = run(args, folder.path(), "");
        assert!(code == 2 && (err + &out).contains(wanted), "{args:?}");
    }
}

#[tokio::test]
async fn signals_end_with_130_and_143_and_a_stopped_worker_with_0() {
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    for (signal, code) in [
        (nix::sys::signal::Signal::SIGINT, 130),
        (nix::sys::signal::Signal::SIGTERM, 143),
    ] {
        // It waits for its input; this test never closes it before the end.
        let mut child = common::flowlaunch()
            .args(["publish", "--set", "broker.url=amqp://127.0.0.1:1"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let status = common::eventually("publish to end upon a signal", common::SOON, async || {
            // Until it listens, a signal ends it by itself, with the same code.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), signal);
            child.try_wait().unwrap().ok_or("it runs")
        })
        .await;
        assert_eq!(common::process::exit_code(status), code);
    }
    let (node, sim) = (shared(), Sim::start().await);
    let prefix = Prefix::new(&node, "cli-stop");
    let mut worker = Worker::builder(node.url(), prefix.name(), &sim.base_url(), &sim.login_url())
        .ready()
        .await;
    worker.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(worker.wait_exit().await, 0);
    assert!(!worker.log().contains("\"target\":\"lapin"), "{}", worker.log());
}
