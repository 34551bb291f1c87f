//! Inputs of a flow, as they are given on the command line: the same everywhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::value::{RawValue, to_raw_value};

use super::told::hint;

/// `--input k=v` (a string) or `--input k:=json` (typed).
#[derive(Clone, Debug)]
pub(super) struct Input {
    key: String,
    value: Box<RawValue>,
}

/// Reads one.
pub(super) fn parse(text: &str) -> Result<Input, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("it looks like KEY=TEXT, or KEY:=JSON for a number, a list and so on")?;
    let (key, value) = match key.strip_suffix(':') {
        Some(key) => {
            let value = RawValue::from_string(value.to_owned())
                .map_err(|error| format!("what follows := is no JSON ({error}); a text is given as {key}=TEXT"))?;
            (key, value)
        }
        None => (key, to_raw_value(value).map_err(|error| error.to_string())?),
    };
    if key.is_empty() {
        return Err("there is no name before the =".to_owned());
    }
    Ok(Input {
        key: key.to_owned(),
        value,
    })
}

impl Input {
    /// Its name and its value.
    pub(super) fn into_pair(self) -> (String, Box<RawValue>) {
        (self.key, self.value)
    }
}

/// The inputs of the file, byte for byte, and those given one by one in their stead or beside them. `None` when there are
/// neither.
pub(super) fn gather(file: Option<&Path>, inputs: &[Input]) -> anyhow::Result<Option<Box<RawValue>>> {
    let text = file.map(read).transpose()?;
    let whole: Option<Box<RawValue>> = match &text {
        Some(text) => Some(serde_json::from_str(text).with_context(|| no_object(file))?),
        None => None,
    };
    if inputs.is_empty() && whole.is_none() {
        return Ok(None);
    }
    let mut map: BTreeMap<String, Box<RawValue>> = match &whole {
        Some(whole) => serde_json::from_str(whole.get()).with_context(|| no_object(file))?,
        None => BTreeMap::new(),
    };
    match whole {
        Some(whole) if inputs.is_empty() => Ok(Some(whole)),
        Some(_) | None => {
            map.extend(inputs.iter().map(|input| (input.key.clone(), input.value.clone())));
            Ok(Some(to_raw_value(&map)?))
        }
    }
}

fn no_object(file: Option<&Path>) -> String {
    format!("{}: must hold one JSON object, {{\"name\": value, …}}", shown(file))
}

fn shown(file: Option<&Path>) -> String {
    match file {
        Some(path) if path.as_os_str() == "-" => "standard input".to_owned(),
        Some(path) => path.display().to_string(),
        None => String::new(),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        if stdin().is_terminal() {
            hint("reading the inputs from the terminal, one JSON object; Ctrl-D ends it, Ctrl-C stops");
        }
        stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = read.with_context(|| format!("cannot read {}", shown(Some(path))))?;
    if text.trim().is_empty() {
        bail!("{} is empty: {}", shown(Some(path)), no_object(Some(path)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(texts: &[&str]) -> String {
        let inputs: Vec<_> = texts.iter().map(|text| parse(text).unwrap()).collect();
        gather(None, &inputs).unwrap().unwrap().get().to_owned()
    }

    #[test]
    fn a_text_is_a_string_and_typed_values_pass_as_they_are_written() {
        assert_eq!(
            given(&["name=Ann \"A\" = B", "empty="]),
            r#"{"empty":"","name":"Ann \"A\" = B"}"#
        );
        assert_eq!(
            given(&[
                "a:=1.10",
                "b:=9007199254740993",
                "c:=[1, null]",
                "d:=\"x\"",
                "e=1",
                "f:=true"
            ]),
            r#"{"a":1.10,"b":9007199254740993,"c":[1, null],"d":"x","e":"1","f":true}"#
        );
        assert_eq!(given(&["a=1", "a=2"]), r#"{"a":"2"}"#, "the last one counts");
        assert!(gather(None, &[]).unwrap().is_none());
    }

    #[test]
    fn what_is_no_input_says_what_one_looks_like() {
        for (text, wanted) in [
            ("name", "KEY=TEXT"),
            ("=x", "no name before the ="),
            (":=1", "no name before the ="),
            ("a:=yes", "a text is given as a=TEXT"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }

    #[test]
    fn a_file_passes_byte_for_byte_and_single_inputs_go_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("inputs.json");
        fs::write(&path, "{ \"a\" : 1.10,\"b\":\"x\" }\n").unwrap();
        let all = gather(Some(&path), &[]).unwrap().unwrap();
        assert_eq!(all.get(), "{ \"a\" : 1.10,\"b\":\"x\" }");
        let all = gather(Some(&path), &[parse("b:=2").unwrap()]).unwrap().unwrap();
        assert_eq!(all.get(), r#"{"a":1.10,"b":2}"#);
        for text in ["[1]", "", "{", "1"] {
            fs::write(&path, text).unwrap();
            let said = format!("{:#}", gather(Some(&path), &[]).unwrap_err());
            assert!(
                said.contains("inputs.json") && said.contains("JSON object"),
                "{text}: {said}"
            );
        }
        let missing = gather(Some(&dir.path().join("none.json")), &[]).unwrap_err();
        assert!(format!("{missing:#}").contains("cannot read"), "{missing:#}");
    }
}
