//! Which column becomes what: as it was asked for, before anybody looked at the file.

use std::str::FromStr;

use serde_json::value::RawValue;

use super::cell::Kind;
use crate::job::clip;

/// How a row becomes a launch.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Columns that get another name, or a type (`--map`).
    pub map: Vec<Mapped>,
    /// Inputs that are the same for all rows (`--input`).
    pub constants: Vec<(String, Box<RawValue>)>,
    /// Stands before the name of every input (`--input-prefix`).
    pub prefix: String,
    /// Columns that become no input (`--skip`).
    pub skip: Vec<String>,
    /// The flow to launch.
    pub flow: Flow,
    /// The column that tells rows apart (`--key`); without one the line does.
    pub key: Option<String>,
    /// The column with each row's time zone (`--timezone-column`).
    pub timezone: Option<String>,
}

/// Which flow a row launches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The same for all rows: a UUID (`--flow-id`).
    Id(String),
    /// The one that this column names (`--flow-column`).
    Column(String),
}

impl Mapping {
    /// Launches this flow with all columns, as they are.
    pub fn new(flow: Flow) -> Self {
        Self {
            map: Vec::new(),
            constants: Vec::new(),
            prefix: String::new(),
            skip: Vec::new(),
            flow,
            key: None,
            timezone: None,
        }
    }

    /// Every column that is named anywhere, with the flag that names it.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let flow = match &self.flow {
            Flow::Id(_) => None,
            Flow::Column(column) => Some(("--flow-column", column.as_str())),
        };
        let map = self.map.iter().map(|mapped| ("--map", mapped.column.as_str()));
        let skip = self.skip.iter().map(|column| ("--skip", column.as_str()));
        let key = self.key.iter().map(|column| ("--key", column.as_str()));
        let timezone = self
            .timezone
            .iter()
            .map(|column| ("--timezone-column", column.as_str()));
        map.chain(skip).chain(flow).chain(key).chain(timezone)
    }

    /// What is wrong with it when there are these columns and no others.
    pub(super) fn check(&self, columns: &[String]) -> Result<(), String> {
        match self
            .columns()
            .find(|(_, wanted)| !columns.iter().any(|column| column == wanted))
        {
            None => Ok(()),
            Some((flag, wanted)) => Err(format!(
                "{flag}: there is no column {}{}",
                clip(wanted),
                advice(wanted, columns)
            )),
        }
    }
}

/// Which column was probably meant, else which there are.
pub(in crate::campaign) fn advice(wanted: &str, columns: &[String]) -> String {
    const SHOWN: usize = 20;
    let wanted = clip(wanted).to_lowercase();
    let close = |column: &str| strsim::jaro_winkler(&wanted, &clip(column).to_lowercase());
    let nearest = columns.iter().max_by(|a, b| close(a).total_cmp(&close(b)));
    match nearest {
        Some(column) if close(column) > 0.8 => format!("; did you mean {}?", clip(column)),
        _ => {
            let names: Vec<_> = columns.iter().take(SHOWN).map(|column| clip(column)).collect();
            let more = if columns.len() > SHOWN { ", …" } else { "" };
            format!("; there are {}{more}", names.join(", "))
        }
    }
}

/// One `--map input[:type]=column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The input's name, without the prefix.
    pub input: String,
    /// What it has to be; without one a string, and in JSON Lines what it is.
    pub kind: Option<Kind>,
    /// The column.
    pub column: String,
}

impl FromStr for Mapped {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (input, column) = text
            .split_once('=')
            .ok_or("it looks like INPUT=COLUMN, or INPUT:TYPE=COLUMN")?;
        let (input, kind) = match input.rsplit_once(':') {
            Some((input, word)) => (input, Some(kind(word)?)),
            None => (input, None),
        };
        if input.is_empty() || column.is_empty() {
            return Err("there has to be a name on both sides of the =: INPUT=COLUMN".to_owned());
        }
        Ok(Self {
            input: input.to_owned(),
            kind,
            column: column.to_owned(),
        })
    }
}

fn kind(word: &str) -> Result<Kind, String> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::as_str).join(", ");
        format!("{word:?} is not a type; there are {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_names_an_input_a_type_and_a_column() {
        let mapped = |text: &str| text.parse::<Mapped>().map(|m| (m.input, m.kind, m.column));
        let of = |input: &str, kind, column: &str| Ok((input.to_owned(), kind, column.to_owned()));
        assert_eq!(mapped("amount=Betrag"), of("amount", None, "Betrag"));
        assert_eq!(mapped("amount:number=a=b"), of("amount", Some(Kind::Number), "a=b"));
        assert_eq!(mapped("a:b:json=c d"), of("a:b", Some(Kind::Json), "c d"));
        for (text, wanted) in [
            ("amount", "INPUT=COLUMN"),
            ("=x", "both sides"),
            ("x=", "both sides"),
            (":json=x", "both sides"),
            (
                "a:float=x",
                "\"float\" is not a type; there are string, integer, number, boolean, json",
            ),
        ] {
            let said = mapped(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }

    #[test]
    fn an_unknown_column_is_told_with_the_flag_and_the_nearest_one() {
        let columns = ["customerEmail", "Betrag", "tz"].map(str::to_owned);
        let flow = Flow::Id(String::new());
        let told = |change: fn(&mut Mapping)| {
            let mut mapping = Mapping::new(flow.clone());
            change(&mut mapping);
            mapping.check(&columns)
        };
        assert_eq!(told(|_| {}), Ok(()));
        assert_eq!(
            told(|m| m.map = vec!["a=Betrg".parse().unwrap()]).unwrap_err(),
            "--map: there is no column Betrg; did you mean Betrag?"
        );
        assert_eq!(
            told(|m| m.skip = vec!["customeremail".to_owned()]).unwrap_err(),
            "--skip: there is no column customeremail; did you mean customerEmail?"
        );
        assert_eq!(
            told(|m| m.key = Some("id".to_owned())).unwrap_err(),
            "--key: there is no column id; there are customerEmail, Betrag, tz"
        );
        assert!(
            told(|m| m.flow = Flow::Column("flow".to_owned()))
                .unwrap_err()
                .starts_with("--flow-column: ")
        );
        assert!(
            told(|m| m.timezone = Some("zone".to_owned()))
                .unwrap_err()
                .starts_with("--timezone-column: ")
        );
    }
}
