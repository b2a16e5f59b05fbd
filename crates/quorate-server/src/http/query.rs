//! Keys and parameters from a request line, decoded strictly: what is not UTF-8 is refused, not replaced.

use axum::http::Uri;

use super::error::ApiError;
use crate::machine::check_key;

/// The parameters of a query, each taken once; what is left at the end was misspelt.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let mut params: Vec<(String, String)> = Vec::new();
        for part in uri.query().unwrap_or("").split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name, true)?;
            if params.iter().any(|(other, _)| *other == name) {
                return Err(ApiError::invalid(format!(
                    "the parameter {name:?} is given twice: give it once"
                )));
            }
            params.push((name, decode(value, true)?));
        }
        Ok(Self(params))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// True for `name`, `name=true` and `name=1`.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.take(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(ApiError::invalid(format!("{name} is {other:?}: give true or false"))),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let number = text.parse();
        number.map(Some).map_err(|_| ApiError::invalid(format!("{name} is {text:?}: give a whole number")))
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(ApiError::invalid(format!("there is no parameter {name:?} here: remove it")))
            }
        }
    }
}

/// The key of a request: the rest of the path after `/v1/kv/`, or the parameter `key`, which can hold any key.
pub(super) fn key(uri: &Uri, params: &mut Params) -> Result<String, ApiError> {
    let in_path = uri.path().strip_prefix("/v1/kv/").unwrap_or("");
    let key = match params.take("key") {
        Some(_) if !in_path.is_empty() => {
            return Err(ApiError::invalid("the key is given in the path and as a parameter: give it once"));
        }
        Some(key) => key,
        None => decode(in_path, false)?,
    };
    check_key(&key)?;
    Ok(key)
}

/// Undoes percent-encoding; in a query, `+` is a space.
fn decode(text: &str, query: bool) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if query => b' ',
            b'%' => match (rest.next().and_then(digit), rest.next().and_then(digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => {
                    return Err(ApiError::invalid(
                        "a % is not followed by two hexadecimal digits: write it as %25",
                    ));
                }
            },
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| {
        ApiError::invalid("a key or parameter is not UTF-8: encode it as text, for example in base64")
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Result<(String, bool), ApiError> {
        let uri: Uri = uri.parse().unwrap();
        let mut params = Params::of(&uri)?;
        let key = key(&uri, &mut params)?;
        let stale = params.flag("stale")?;
        params.finish()?;
        Ok((key, stale))
    }

    #[test]
    fn a_key_stands_in_the_path_or_in_the_query() {
        assert_eq!(parse("/v1/kv/a/b%20c+d?stale").unwrap(), ("a/b c+d".into(), true));
        assert_eq!(parse("/v1/kv?key=a%2Fb+c&stale=false").unwrap(), ("a/b c".into(), false));
        assert_eq!(parse("/v1/kv?key=..").unwrap().0, "..");
        assert_eq!(parse("/v1/kv/%D0%BA").unwrap().0, "к");
    }

    #[test]
    fn what_cannot_be_decoded_is_refused_with_the_way_out() {
        for (uri, text) in [
            ("/v1/kv/a%ff", "not UTF-8"),
            ("/v1/kv?key=%ff", "not UTF-8"),
            ("/v1/kv/a%2", "two hexadecimal digits"),
            ("/v1/kv/a%zz", "two hexadecimal digits"),
            ("/v1/kv/a%00b", "NUL"),
            ("/v1/kv", "empty"),
            ("/v1/kv/?key=", "empty"),
            ("/v1/kv/a?key=b", "give it once"),
            ("/v1/kv/a?stale&stale", "given twice"),
            ("/v1/kv/a?stael=true", "no parameter \"stael\""),
            ("/v1/kv/a?stale=perhaps", "give true or false"),
        ] {
            let error = parse(uri).unwrap_err().body().error;
            assert!(error.contains(text), "{uri}: {error}");
        }
    }
}
