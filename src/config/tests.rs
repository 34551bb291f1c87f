use std::io::Write as _;
use std::time::Duration;

use super::*;
use crate::admit::settings::{Rate, Unit};
use crate::broker::settings::Declare;
use crate::job::OnUnknown;

/// A file with this text.
fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn variables(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_from(Some(file(toml).path()), variables(environment), &[])
}

/// What is said of a configuration, of which one thing is wrong.
fn refusal(toml: &str, environment: &[(&str, &str)]) -> String {
    let error = load(toml, environment).expect_err(toml);
    assert_eq!(error.faults.len(), 1, "{error}");
    error.to_string()
}

fn over(key: &str, value: &str, flag: &str) -> Override {
    Override {
        key: key.into(),
        value: value.into(),
        flag: flag.into(),
    }
}

#[test]
fn the_defaults_are_those_of_the_documents() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.broker.url.expose(), "sqlite:flowlaunch.db");
    assert_eq!(
        (config.broker.prefix.as_str(), config.broker.declare),
        ("flowlaunch", Declare::Create)
    );
    assert_eq!(config.limits.rate, Rate::Per(300, Unit::Minute));
    assert_eq!((config.limits.burst, config.limits.concurrency), (1, 64));
    let retry = crate::retry::Settings {
        max_attempts: 8,
        initial_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(300),
        on_unknown: OnUnknown::Relaunch,
        max_unknown: 1,
    };
    assert_eq!(config.retry, retry);
    assert!(config.results.enabled);
    assert_eq!(config.results.keep, Duration::from_secs(7 * 86_400));
    assert_eq!(config.worker.drain_timeout, Duration::from_secs(25));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.source_of("limits.rate"), Source::Default);
}

/// The settings that the defaults file names, those in its comments among them.
fn documented() -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
        }
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some((name, _)) = line.split_once(" = ")
            && !name.contains(' ')
        {
            found.push(format!("{section}.{name}"));
        }
    }
    found
}

#[test]
fn the_defaults_file_names_every_setting_and_no_other() {
    let known: Vec<_> = keys::KEYS.iter().map(keys::Key::path).collect();
    assert_eq!(documented(), known);
}

#[test]
fn every_setting_is_read() {
    for key in keys::KEYS {
        let layer = figment::providers::Serialized::default(&key.path(), vec!["nonsense"]);
        let defaults = Layer::defaults().unwrap();
        let merged = Figment::new().merge(&defaults).merge(layer);
        assert!(merged.extract::<Sections>().is_err(), "nobody reads {}", key.path());
    }
}

#[test]
fn what_is_set_last_holds() {
    let toml = file("[limits]\nrate = \"1/s\"\nburst = 2\nconcurrency = 3\n");
    let environment = variables(&[("FLOWLAUNCH_LIMITS__RATE", "2/s"), ("FLOWLAUNCH_LIMITS__BURST", "5")]);
    let config = Config::load_from(Some(toml.path()), environment, &[over("limits.rate", "3/s", "--rate")]).unwrap();
    assert_eq!(config.limits.rate, Rate::Per(3, Unit::Second));
    assert_eq!((config.limits.burst, config.limits.concurrency), (5, 3));
    assert_eq!(config.source_of("limits.rate"), Source::Flag("--rate".into()));
    assert_eq!(
        config.source_of("limits.burst"),
        Source::Env("FLOWLAUNCH_LIMITS__BURST".into())
    );
    assert_eq!(
        config.source_of("limits.concurrency"),
        Source::File(toml.path().to_owned(), Some(4))
    );
}

#[test]
fn text_from_the_environment_stays_text() {
    let environment = [
        ("FLOWLAUNCH_API__CLIENT_ID", "12345"),
        ("FLOWLAUNCH_API__CLIENT_SECRET", "true"),
        ("FLOWLAUNCH_RESULTS__ENABLED", "no"),
        ("FLOWLAUNCH_LOG__FILTER", ""),
    ];
    let config = load("", &environment).unwrap();
    assert_eq!(config.api().unwrap().client_id, "12345");
    assert!(!config.results.enabled);
    assert_eq!(config.log.filter, "info");
}

#[test]
fn rust_log_stands_for_the_filter() {
    let config = load("[log]\nfilter = \"warn\"", &[("RUST_LOG", "debug")]).unwrap();
    assert_eq!(
        (config.log.filter.as_str(), config.source_of("log.filter")),
        ("debug", Source::Env("RUST_LOG".into()))
    );
    let both = [("RUST_LOG", "debug"), ("FLOWLAUNCH_LOG__FILTER", "error")];
    assert_eq!(load("", &both).unwrap().log.filter, "error");
    assert!(refusal("", &[("RUST_LOG", "flowlaunch=loud")]).contains("RUST_LOG"));
}

#[test]
fn an_unknown_setting_names_its_source_and_the_nearest_one() {
    for (toml, key, line, meant) in [
        (
            "[broker]\nurl = \"amqp://h\"\nprefx = \"a\"",
            "broker.prefx",
            3,
            "broker.prefix",
        ),
        ("[limit]\nrate = \"1/s\"", "limit", 1, "[limits]"),
        (
            "[limits]\n\n\nmax_attempts = 3",
            "limits.max_attempts",
            4,
            "retry.max_attempts",
        ),
        ("rate = \"1/s\"", "rate", 1, "limits.rate"),
        ("broker.urll = \"x\"", "broker.urll", 1, "broker.url"),
        (
            "[worker]\nconcurrency = 3",
            "worker.concurrency",
            2,
            "limits.concurrency",
        ),
    ] {
        let said = refusal(toml, &[]);
        assert!(said.contains(&format!("{key} (from ")), "{said}");
        assert!(said.contains(&format!("line {line})")), "{said}");
        assert!(said.contains(&format!("did you mean {meant}")), "{said}");
    }
    assert!(!refusal("[zzzzzzzzzz]", &[]).contains("did you mean"));
}

#[test]
fn a_misspelt_variable_names_the_right_one() {
    for (name, meant) in [
        ("FLOWLAUNCH_BROKER_URL", "use two underscores: FLOWLAUNCH_BROKER__URL"),
        (
            "FLOWLAUNCH_API_CLIENT_ID",
            "use two underscores: FLOWLAUNCH_API__CLIENT_ID",
        ),
        ("FLOWLAUNCH_BROKER__URI", "did you mean FLOWLAUNCH_BROKER__URL?"),
        ("FLOWLAUNCH_CLIENT_ID", "did you mean FLOWLAUNCH_API__CLIENT_ID?"),
        ("FLOWLAUNCH_RATE", "did you mean FLOWLAUNCH_LIMITS__RATE?"),
        ("FLOWLAUNCH_ADMIN_PORT", "sets nothing that there is"),
    ] {
        let said = refusal("", &[(name, "9")]);
        assert!(said.contains(name) && said.contains(meant), "{said}");
    }
}

#[test]
fn what_kubernetes_injects_is_let_be() {
    let injected = [
        ("FLOWLAUNCH_SERVICE_HOST", "10.0.0.1"),
        ("FLOWLAUNCH_SERVICE_PORT", "9464"),
        ("FLOWLAUNCH_SERVICE_PORT_METRICS", "9464"),
        ("FLOWLAUNCH_PORT", "tcp://10.0.0.1:9464"),
        ("FLOWLAUNCH_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
        ("FLOWLAUNCH_PORT_9464_TCP_PROTO", "tcp"),
        ("FLOWLAUNCH_PORT_9464_TCP_PORT", "9464"),
        ("FLOWLAUNCH_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("FLOWLAUNCH_ADMIN_SERVICE_HOST", "10.0.0.1"),
        ("FLOWLAUNCH_ADMIN_PORT", "tcp://10.0.0.1:9464"),
        ("FLOWLAUNCH_TEST_AMQP_URL", "amqp://localhost"),
    ];
    assert!(load("", &injected).is_ok());
}

#[test]
fn a_value_out_of_range_names_key_source_and_range() {
    for (toml, said) in [
        ("[limits]\nburst = 0", "must be from 1 to 10000, not 0"),
        ("[limits]\nburst = 301", "limits.rate (300/min)"),
        ("[limits]\nburst = -1", "limits.burst"),
        ("[limits]\nburst = \"3\"", "must be a whole number, without quotes"),
        ("[limits]\nburst = 1.5", "must be a whole number, without quotes"),
        ("[limits]\nrate = 300", "must be text, in quotes"),
        ("[limits]\nrate = \"300\"", "such as \"300/min\""),
        ("[results]\nenabled = \"yes\"", "must be true or false, without quotes"),
        ("[retry]\nmax_attempts = 101", "from 1 to 100"),
        ("[retry]\nmax_delay = \"2d\"", "from 1ms to 1d, not 2d"),
        ("[retry]\nmax_delay = \"10ms\"", "shorter than retry.initial_delay (1s)"),
        ("[retry]\non_unknown = \"retry\"", "must be \"relaunch\" or \"park\""),
        ("[broker]\ndeclare = \"passive\"", "must be \"create\" or \"verify\""),
        ("[broker]\nprefix = \"a b\"", "letters, digits"),
        ("[broker]\nurl = \"redis://h\"", "amqp://"),
        ("[api]\ntimeout = \"15\"", "has no unit"),
        ("[api]\nconnect_timeout = \"20s\"", "longer than api.timeout (15s)"),
        ("[api]\nregion = \"eu-wets-1\"", "did you mean `eu-west-1`?"),
        ("[api]\ninputs_field = \"data\"", "\"inputs\" or \"inputData\""),
        ("[admin]\nlisten = \"9464\"", "an address and a port"),
        ("[log]\nformat = \"xml\"", "must be \"auto\" or \"text\" or \"json\""),
        ("[log]\nfilter = \"a=loud\"", "log.filter"),
    ] {
        let shown = refusal(toml, &[]);
        assert!(shown.contains(said) && shown.contains("line 2"), "{toml}: {shown}");
    }
    assert!(refusal("", &[("FLOWLAUNCH_LIMITS__BURST", "many")]).contains("must be a whole number, not \"many\""));
}

#[test]
fn contradictions_are_refused_with_both_places() {
    let urls = "[broker]\nurl = \"amqp://h\"\nurl_file = \"/nowhere\"";
    assert!(refusal(urls, &[]).contains("contradicts broker.url_file"));
    let secrets = "[api]\nclient_secret = \"hunter2\"\nclient_secret_file = \"/nowhere\"";
    assert!(refusal(secrets, &[]).contains("contradicts api.client_secret_file"));
    let addresses = "[api]\nbase_url = \"http://a\"\nlogin_url = \"http://b\"";
    assert!(load(addresses, &[]).is_ok());
    let both = load(addresses, &[("FLOWLAUNCH_API__REGION", "eu-west-1")])
        .unwrap_err()
        .to_string();
    assert!(
        both.contains("api.base_url") && both.contains("FLOWLAUNCH_API__REGION"),
        "{both}"
    );
    assert!(refusal("[api]\nbase_url = \"http://a\"", &[]).contains("needs api.login_url too"));
    assert!(refusal("[api]\nlogin_url = \"http://a\"", &[]).contains("needs api.base_url too"));
    let half = "[broker]\nurl = \"amqps://h\"\nclient_cert_file = \"c.pem\"";
    assert!(refusal(half, &[]).contains("needs broker.client_key_file too"));
    assert!(refusal("[broker]\nca_file = \"ca.pem\"", &[]).contains("is for amqps://"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let error = load("[limits]\nrat = 1\nburts = 2", &[("FLOWLAUNCH_RATE", "1/s")]).unwrap_err();
    assert_eq!(error.faults.len(), 3, "{error}");
    let error = load("[limits]\nburst = 0\nconcurrency = 0", &[]).unwrap_err();
    assert_eq!(error.faults.len(), 2, "{error}");
}

#[test]
fn a_secret_is_never_shown() {
    for (toml, environment) in [
        ("[api]\nclient_secret = \"hunter2", vec![]),
        ("[api]\nclient_secret = hunter2", vec![]),
        ("[api]\nclient_secret = [\"hunter2\"]", vec![]),
        ("[broker]\nurl = \"amqp://u:hunter2/@h\"", vec![]),
        ("", vec![("FLOWLAUNCH_BROKER__URL", "rabbit://u:hunter2@h")]),
        ("", vec![("FLOWLAUNCH_API__BASE_URL", "http://u:hunter2@h")]),
    ] {
        let error = load(toml, &environment).unwrap_err();
        assert!(
            !error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"),
            "{error}"
        );
    }
    let config = load(
        "[api]\nclient_secret = \"hunter2\"\n[broker]\nurl = \"amqp://u:hunter2@h\"",
        &[("FLOWLAUNCH_API__CLIENT_ID", "c")],
    )
    .unwrap();
    assert!(!format!("{config:?} {:?}", config.api().unwrap()).contains("hunter2"));
}

#[test]
fn secrets_are_read_from_files_without_their_newline() {
    use secrecy::ExposeSecret as _;
    let url = file("amqp://u:p@h\r\n");
    let secret = file("hunter2\n");
    let toml = format!(
        "[broker]\nurl_file = {:?}\n[api]\nclient_id = \"c\"\nclient_secret_file = {:?}",
        url.path(),
        secret.path()
    );
    let config = load(&toml, &[]).unwrap();
    assert_eq!(config.broker.url.expose(), "amqp://u:p@h");
    assert_eq!(config.api().unwrap().client_secret.expose_secret(), "hunter2");
    let gone = refusal("[broker]\nurl_file = \"/nowhere/url\"", &[]);
    assert!(
        gone.contains("broker.url_file") && gone.contains("/nowhere/url cannot be read"),
        "{gone}"
    );
    let empty = file("\n");
    assert!(refusal(&format!("[broker]\nurl_file = {:?}", empty.path()), &[]).contains("is empty"));
    let wrong = file("redis://u:hunter2@h");
    let said = refusal(&format!("[broker]\nurl_file = {:?}", wrong.path()), &[]);
    assert!(said.contains("amqp://") && !said.contains("hunter2"), "{said}");
}

#[test]
fn what_is_missing_to_call_the_api_is_said_when_it_is_called() {
    let error = load("", &[]).unwrap().api().unwrap_err().to_string();
    assert!(
        error.contains("FLOWLAUNCH_API__CLIENT_ID") && error.contains("FLOWLAUNCH_API__CLIENT_SECRET"),
        "{error}"
    );
}

#[test]
fn genesys_cloud_wants_the_inputs_field_in_so_many_words() {
    let addresses =
        |host: &str| format!("[api]\nbase_url = \"https://api.{host}\"\nlogin_url = \"https://login.{host}\"");
    for toml in [
        String::new(),
        addresses("mypurecloud.de"),
        addresses("new1.pure.cloud"),
        addresses("USW2.pure.cloud"),
        addresses("use2.us-gov-pure.cloud"),
    ] {
        let error = load(&toml, &[])
            .unwrap()
            .require_inputs_field()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("api.inputs_field") && error.contains("Architect"),
            "{error}"
        );
        assert!(
            load(&toml, &[("FLOWLAUNCH_API__INPUTS_FIELD", "inputs")])
                .unwrap()
                .require_inputs_field()
                .is_ok()
        );
    }
    assert!(
        load(&addresses("localhost:8080"), &[])
            .unwrap()
            .require_inputs_field()
            .is_ok()
    );
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let missing = Config::load_from(Some(Path::new("/nowhere/flowlaunch.toml")), [], &[])
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("/nowhere/flowlaunch.toml: cannot be read"),
        "{missing}"
    );
    let broken = refusal("[limits]\nrate = ", &[]);
    assert!(broken.contains("line 2: is not valid TOML"), "{broken}");
    assert!(refusal("[limits]\nburst = 1\nburst = 2", &[]).contains("line 3"));
}

#[test]
fn a_flag_of_the_wrong_kind_names_the_flag() {
    let flag = over("limits.concurrency", "all", "--concurrency");
    let error = Config::load_from(Some(file("").path()), [], &[flag])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the flag --concurrency") && error.contains("whole number, not \"all\""),
        "{error}"
    );
}
