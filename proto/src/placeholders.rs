//! Placeholders in argv, environment and URLs: `{name}` is filled in on the node.
//!
//! A brace that is meant as itself is written twice, `{{` and `}}`. What is filled in is not
//! looked at again, so no value can smuggle in a placeholder; nothing here ever reaches a shell.

use std::borrow::Cow;

/// Names of all placeholders, in the order in which help lists them.
pub const NAMES: [&str; 7] =
    ["artifact", "address", "node", "region", "service", "version", "data"];

/// What a node knows and templates may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Path of the release's file on the node.
    pub artifact: &'a str,
    /// Address at which clients reach the node.
    pub address: &'a str,
    /// Name of the node.
    pub node: &'a str,
    /// Region of the node.
    pub region: &'a str,
    /// Name of the service.
    pub service: &'a str,
    /// Version of the release.
    pub version: &'a str,
    /// Directory the service may keep data in.
    pub data: &'a str,
}

/// Tells why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// There is no fact of that name.
    #[error("`{{{name}}}` in `{template}` is not a placeholder")]
    Unknown {
        /// Template it stands in.
        template: String,
        /// What stands between the braces.
        name: String,
    },
    /// A brace opens or closes nothing.
    #[error("`{brace}` in `{template}` is half a placeholder")]
    Unpaired {
        /// Template it stands in.
        template: String,
        /// The brace.
        brace: char,
    },
}

impl PlaceholderError {
    /// Returns what to write instead.
    pub fn help(&self) -> Cow<'static, str> {
        match self {
            Self::Unknown { .. } => format!(
                "placeholders are {{{}}}; a brace meant as itself is written twice",
                NAMES.join("}, {")
            )
            .into(),
            Self::Unpaired { .. } => {
                "write {name} for a placeholder, and a brace meant as itself twice: {{ or }}".into()
            }
        }
    }
}

/// Returns `template` with every placeholder filled in.
pub fn fill(template: &str, facts: &Facts<'_>) -> Result<String, PlaceholderError> {
    let mut filled = String::with_capacity(template.len());
    let unpaired = |brace| PlaceholderError::Unpaired { template: template.to_owned(), brace };
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        rest = &from[1..];
        if let Some(after) = from.strip_prefix("{{") {
            filled.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            filled.push('}');
            rest = after;
        } else if from.starts_with('}') {
            return Err(unpaired('}'));
        } else {
            let (name, after) = rest.split_once('}').ok_or_else(|| unpaired('{'))?;
            filled.push_str(facts.value(name).ok_or_else(|| PlaceholderError::Unknown {
                template: template.to_owned(),
                name: name.to_owned(),
            })?);
            rest = after;
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Checks that `template` can be filled in on any node.
pub fn check(template: &str) -> Result<(), PlaceholderError> {
    let anything = Facts {
        artifact: "",
        address: "",
        node: "",
        region: "",
        service: "",
        version: "",
        data: "",
    };
    fill(template, &anything).map(drop)
}

impl<'a> Facts<'a> {
    fn value(&self, name: &str) -> Option<&'a str> {
        Some(match name {
            "artifact" => self.artifact,
            "address" => self.address,
            "node" => self.node,
            "region" => self.region,
            "service" => self.service,
            "version" => self.version,
            "data" => self.data,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FACTS: Facts<'static> = Facts {
        artifact: "/var/lib/trireme/web-1",
        address: "127.1.0.1",
        node: "aws-1",
        region: "aws",
        service: "web",
        version: "1.0.0",
        data: "{node}",
    };

    #[test]
    fn fills_every_name_once_and_never_again() {
        for name in NAMES {
            let filled = fill(&format!("<{{{name}}}>"), &FACTS).unwrap();
            assert_eq!(filled, format!("<{}>", FACTS.value(name).unwrap()));
        }
        assert_eq!(fill("{data}/{region}", &FACTS).unwrap(), "{node}/aws");
        assert_eq!(fill(r#"{{"node":"{node}"}}"#, &FACTS).unwrap(), r#"{"node":"aws-1"}"#);
        assert_eq!(fill("no braces", &FACTS).unwrap(), "no braces");
    }

    #[test]
    fn refuses_what_it_cannot_fill_in() {
        for (template, message) in [
            ("{host}:80", "`{host}` in `{host}:80` is not a placeholder"),
            ("{}", "`{}` in `{}` is not a placeholder"),
            ("{Node}", "`{Node}` in `{Node}` is not a placeholder"),
            ("a{node", "`{` in `a{node` is half a placeholder"),
            ("a}b", "`}` in `a}b` is half a placeholder"),
        ] {
            assert_eq!(fill(template, &FACTS).unwrap_err().to_string(), message);
            assert_eq!(check(template).unwrap_err().to_string(), message);
        }
        assert_eq!(
            check("{host}").unwrap_err().help(),
            "placeholders are {artifact}, {address}, {node}, {region}, {service}, {version}, \
             {data}; a brace meant as itself is written twice"
        );
    }

    proptest! {
        #[test]
        fn doubling_braces_says_any_text_as_it_is(text in ".*") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(fill(&escaped, &FACTS).unwrap(), text);
        }

        #[test]
        fn any_text_is_filled_or_refused_but_never_breaks(text in "[{}a-z]{0,12}") {
            prop_assert_eq!(fill(&text, &FACTS).is_ok(), check(&text).is_ok());
        }
    }
}
