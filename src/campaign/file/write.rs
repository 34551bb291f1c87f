//! Writing a campaign file: every setting with what it does; those that are not set as an example behind a `#`.

use std::io;
use std::path::{Path, absolute};

use super::CampaignFile;

/// A setting: what it does, and an example.
pub(super) struct Setting {
    pub(super) key: &'static str,
    about: &'static str,
    example: &'static str,
    value: fn(&CampaignFile) -> Option<String>,
}

macro_rules! settings {
    ($($key:ident: $about:literal, $example:literal;)*) => {
        /// All of them, in the order in which they are written.
        pub(super) const SETTINGS: &[Setting] = &[$(Setting {
            key: stringify!($key),
            about: $about,
            example: $example,
            value: |file| file.$key.toml(),
        }),*];
    };
}

settings! {
    name: "What the campaign is called: letters, digits, \"_\" and \"-\".", "\"spring-2026\"";
    file: "The rows: CSV with a header, or JSON Lines; gzip too.", "\"customers.csv\"";
    format: "\"csv\" or \"jsonl\"; else the file's name and first byte tell.", "\"csv\"";
    delimiter: "What stands between cells; else the header and the first rows tell.", "\";\"";
    encoding: "Else it is UTF-8, or what a byte-order mark says.", "\"windows-1252\"";
    map: "INPUT=COLUMN or INPUT:TYPE=COLUMN; types are string, integer, number, boolean and json.", "[\"amount:number=Betrag\"]";
    input: "Inputs that are the same for all rows: KEY=TEXT, or KEY:=JSON.", "[\"source=crm\", \"retries:=3\"]";
    input_prefix: "Stands before the name of every input.", "\"Flow.\"";
    skip: "Columns that become no input.", "[\"internal_note\"]";
    flow_id: "The flow to launch.", "\"5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b\"";
    flow_column: "Or the column with each row's flow.", "\"flow\"";
    key: "The column that tells rows apart; without one the line does.", "\"customer_id\"";
    check_inputs: "Hold each row's inputs against what its flow asks for, where the API says it.", "true";
    skip_bad: "Launch the good rows although some are bad.", "false";
    pace: "Launches in a time, evenly. Pace, waves and ramp exclude each other.", "\"120/min\"";
    waves: "So many at once, each so often.", "\"500/10m\"";
    ramp: "From one pace to another, in this time.", "\"10/min..300/min:30m\"";
    start: "When it begins, in the time zone of the row.", "\"2026-12-01T09:00\"";
    windows: "When launches may be, in the time zone of the row.", "[\"Mon-Fri 09:00-18:00\"]";
    timezone: "The time zone of rows that name none.", "\"Europe/Berlin\"";
    timezone_column: "The column with each row's time zone.", "\"tz\"";
    not_on: "A file of dates on which nothing is launched.", "\"holidays.txt\"";
    expires_after: "How long after it was due a row may be launched, if its window does not end before.", "\"2h\"";
    track: "Follow every execution to its end.", "false";
    on_unknown: "When nobody can say whether it was launched: \"relaunch\", or \"park\" it for a person.", "\"park\"";
    max_attempts: "Attempts for each row.", "8";
    pause_on_failures: "So many failures in a row pause the campaign.", "20";
    lane: "The lane in which it waits.", "\"bulk\"";
}

impl CampaignFile {
    /// The file's text.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# A campaign of flowlaunch. Each setting has the name of its flag, and flags go before it; paths are relative \
             to\n# this file.\n",
        );
        for setting in SETTINGS {
            let Setting {
                key, about, example, ..
            } = setting;
            let line = match (setting.value)(self) {
                Some(value) => format!("{key} = {value}"),
                None => format!("# {key} = {example}"),
            };
            text.push_str(&format!("\n# {about}\n{line}\n"));
        }
        text
    }

    /// Writes it to a file that is not yet there. Its paths are written relative to it where they lie below its folder,
    /// else from the root.
    ///
    /// # Errors
    /// When it cannot be written, or the file is there.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut moved = self.clone();
        for path in [&mut moved.file, &mut moved.not_on].into_iter().flatten() {
            if path.as_os_str() != "-" {
                let whole = absolute(&*path)?;
                *path = whole.strip_prefix(folder).map(Path::to_owned).unwrap_or(whole);
            }
        }
        let mut file = std::fs::File::create_new(path)?;
        io::Write::write_all(&mut file, moved.to_toml().as_bytes())
    }
}

/// How a value is written; nothing when it is not set.
trait Write {
    fn toml(&self) -> Option<String>;
}

impl Write for Option<String> {
    fn toml(&self) -> Option<String> {
        self.as_deref().map(quoted)
    }
}

impl Write for Option<std::path::PathBuf> {
    fn toml(&self) -> Option<String> {
        self.as_deref().map(|path| quoted(&path.to_string_lossy()))
    }
}

impl Write for Vec<String> {
    fn toml(&self) -> Option<String> {
        let texts: Vec<_> = self.iter().map(|text| quoted(text)).collect();
        (!texts.is_empty()).then(|| format!("[{}]", texts.join(", ")))
    }
}

macro_rules! plain {
    ($($kind:ty)*) => {$(
        impl Write for Option<$kind> {
            fn toml(&self) -> Option<String> {
                // Booleans and numbers are written in TOML as in JSON.
                self.as_ref().and_then(|value| serde_json::to_string(value).ok())
            }
        }
    )*};
}

plain! { bool u32 crate::job::OnUnknown crate::lane::Lane crate::campaign::source::Format }

/// A JSON string is a string of TOML too, but for the one control character that JSON does not escape.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
