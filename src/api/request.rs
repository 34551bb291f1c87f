//! The launch, as bytes: written by hand, so that the inputs pass byte for byte and nothing is parsed or built twice.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::InputsField;

/// One launch.
#[derive(Clone, Copy, Debug)]
pub struct LaunchRequest<'a> {
    /// The flow.
    pub flow_id: &'a str,
    /// Its inputs, passed on byte for byte; absent, the key is absent too.
    pub inputs: Option<&'a RawValue>,
    /// The version of the flow; absent, the latest that is published.
    pub flow_version: Option<&'a str>,
    /// A name for the execution.
    pub name: Option<&'a str>,
}

impl LaunchRequest<'_> {
    /// The body of the request.
    pub fn encode(&self, inputs_field: InputsField) -> Bytes {
        // Room for the keys and a UUID; escapes in a name may cost a second allocation.
        const KEYS: usize = 112;
        let sizes = [self.inputs.map(RawValue::get), self.flow_version, self.name];
        let mut body = Vec::with_capacity(KEYS + sizes.into_iter().flatten().map(str::len).sum::<usize>());
        body.extend_from_slice(b"{\"flowId\":");
        string(&mut body, self.flow_id);
        for (key, value) in [("flowVersion", self.flow_version), ("name", self.name)] {
            if let Some(value) = value {
                begin(&mut body, key);
                string(&mut body, value);
            }
        }
        if let Some(inputs) = self.inputs {
            begin(&mut body, inputs_field.as_str());
            body.extend_from_slice(inputs.get().as_bytes());
        }
        body.push(b'}');
        body.into()
    }
}

fn begin(body: &mut Vec<u8>, key: &str) {
    body.extend_from_slice(b",\"");
    body.extend_from_slice(key.as_bytes());
    body.extend_from_slice(b"\":");
}

#[expect(clippy::expect_used, reason = "a str into a Vec: neither can fail")]
fn string(body: &mut Vec<u8>, value: &str) {
    serde_json::to_writer(body, value).expect("a string can be written");
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str = "0f5e4b1c-0000-4000-8000-000000000001";

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn a_bare_launch_has_a_flow_and_nothing_else() {
        let request = LaunchRequest {
            flow_id: FLOW,
            inputs: None,
            flow_version: None,
            name: None,
        };
        assert_eq!(request.encode(InputsField::Inputs), format!(r#"{{"flowId":"{FLOW}"}}"#));
    }

    #[test]
    fn inputs_pass_byte_for_byte_under_either_key() {
        let inputs = raw(r#"{ "a":1.10,"b" : 9007199254740993, "c":"\u00e9\/", "a":123}"#);
        let request = LaunchRequest {
            flow_id: FLOW,
            inputs: Some(&inputs),
            flow_version: Some("2.0"),
            name: None,
        };
        for (field, key) in [(InputsField::Inputs, "inputs"), (InputsField::InputData, "inputData")] {
            let expected = format!(r#"{{"flowId":"{FLOW}","flowVersion":"2.0","{key}":{inputs}}}"#);
            assert_eq!(request.encode(field), expected);
        }
    }

    #[test]
    fn names_are_escaped() {
        let request = LaunchRequest {
            flow_id: FLOW,
            inputs: None,
            flow_version: None,
            name: Some("a\"b\\\n\u{1}é"),
        };
        let body = request.encode(InputsField::Inputs);
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["name"], "a\"b\\\n\u{1}é");
        assert_eq!(read.as_object().unwrap().len(), 2);
    }
}
