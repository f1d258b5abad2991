//! Query parameters, and FastAPI's answer when one is wrong: 422 with `{"detail": [{type, loc, msg, input, ctx}]}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

const COUNT_MAX: usize = 10_000_000;
const BATCH_SIZE_MAX: usize = 100_000;
const RATE_MAX: f64 = 10_000.0;
const SEED_DEFAULT: u64 = 42;

/// Of `POST /seed/full`.
#[derive(Debug, PartialEq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FullParameters {
    /// Customers to write.
    #[param(required = false, default = 10_000, minimum = 1, maximum = 10_000_000)]
    pub(super) count: usize,
    /// Customers a transaction.
    #[param(required = false, default = 1_000, minimum = 1, maximum = 100_000)]
    pub(super) batch_size: usize,
    /// The same seed gives the same rows.
    #[param(required = false, default = 42, minimum = 0)]
    pub(super) seed: u64,
}

/// Of `POST /seed/start`.
#[derive(Debug, PartialEq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StartParameters {
    /// Transactions a second.
    #[param(required = false, default = 1.0, exclusive_minimum = 0, maximum = 10_000)]
    pub(super) rate: f64,
    /// The same seed draws the same actions.
    #[param(required = false, default = 42, minimum = 0)]
    pub(super) seed: u64,
}

/// One wrong parameter.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct ValidationError {
    /// Such as `int_parsing` or `greater_than`.
    r#type: String,
    /// `["query", <parameter>]`.
    loc: Vec<String>,
    msg: String,
    /// What was given.
    input: String,
    /// The bound that was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    ctx: Option<Value>,
}

/// All wrong parameters of a request.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct HTTPValidationError {
    detail: Vec<ValidationError>,
}

impl IntoResponse for HTTPValidationError {
    fn into_response(self) -> Response {
        (StatusCode::UNPROCESSABLE_ENTITY, Json(self)).into_response()
    }
}

impl FullParameters {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, HTTPValidationError> {
        let mut query = Query::new(query);
        let count = query.integer("count", 10_000, 1, COUNT_MAX as u64) as usize;
        let batch_size = query.integer("batch_size", 1_000, 1, BATCH_SIZE_MAX as u64) as usize;
        let seed = query.integer("seed", SEED_DEFAULT, 0, u64::MAX);
        query.finish(Self { count, batch_size, seed })
    }
}

impl StartParameters {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, HTTPValidationError> {
        let mut query = Query::new(query);
        let rate = query.rate("rate", 1.0);
        let seed = query.integer("seed", SEED_DEFAULT, 0, u64::MAX);
        query.finish(Self { rate, seed })
    }
}

/// The parameters as given, and what was wrong so far. The last of equal names counts; unknown names are ignored.
struct Query {
    given: Vec<(String, String)>,
    wrong: Vec<ValidationError>,
}

impl Query {
    fn new(query: Option<&str>) -> Self {
        let given = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let given = given.map(|(name, value)| (decoded(name), decoded(value))).collect();
        Self { given, wrong: Vec::new() }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.given.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }

    /// The value within bounds, or the default, also when it is wrong: `finish` then refuses.
    fn integer(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        let Some(input) = self.value(name) else { return default };
        // i128 tells "too small" and "too large" from "no integer".
        let Ok(value) = input.trim().parse::<i128>() else {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            self.refuse("int_parsing", name, message.to_owned(), input, None);
            return default;
        };
        if value < i128::from(least) {
            let message = format!("Input should be greater than or equal to {least}");
            self.refuse("greater_than_equal", name, message, input, Some(json!({ "ge": least })));
        } else if value > i128::from(most) {
            let message = format!("Input should be less than or equal to {most}");
            self.refuse("less_than_equal", name, message, input, Some(json!({ "le": most })));
        }
        u64::try_from(value).unwrap_or(default)
    }

    fn rate(&mut self, name: &str, default: f64) -> f64 {
        let Some(input) = self.value(name) else { return default };
        let Some(value) = input.trim().parse::<f64>().ok().filter(|value| !value.is_nan()) else {
            let message = "Input should be a valid number, unable to parse string as a number";
            self.refuse("float_parsing", name, message.to_owned(), input, None);
            return default;
        };
        if value <= 0.0 {
            let message = "Input should be greater than 0".to_owned();
            self.refuse("greater_than", name, message, input, Some(json!({ "gt": 0.0 })));
        } else if value > RATE_MAX {
            let message = format!("Input should be less than or equal to {RATE_MAX}");
            self.refuse("less_than_equal", name, message, input, Some(json!({ "le": RATE_MAX })));
        }
        value
    }

    fn refuse(&mut self, kind: &str, name: &str, msg: String, input: String, ctx: Option<Value>) {
        let loc = vec!["query".to_owned(), name.to_owned()];
        self.wrong.push(ValidationError { r#type: kind.to_owned(), loc, msg, input, ctx });
    }

    fn finish<T>(self, parameters: T) -> Result<T, HTTPValidationError> {
        if self.wrong.is_empty() { Ok(parameters) } else { Err(HTTPValidationError { detail: self.wrong }) }
    }
}

/// Undoes `%xx` and `+`. Numbers need no more; anything broken stays as it is and is refused as no number.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(if first == b'+' { b' ' } else { first });
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn defaults_are_the_originals() {
        let full = FullParameters { count: 10_000, batch_size: 1_000, seed: 42 };
        assert_eq!(FullParameters::parse(None).unwrap(), full);
        assert_eq!(FullParameters::parse(Some("unknown=1")).unwrap(), full);
        assert_eq!(StartParameters::parse(Some("")).unwrap(), StartParameters { rate: 1.0, seed: 42 });
    }

    #[test]
    fn a_wrong_parameter_is_named_as_fastapi_does() {
        let error = StartParameters::parse(Some("rate=0")).unwrap_err();
        assert_eq!(
            serde_json::to_value(error).unwrap(),
            json!({"detail": [{"type": "greater_than", "loc": ["query", "rate"], "msg": "Input should be greater than 0",
                               "input": "0", "ctx": {"gt": 0.0}}]})
        );
        let error = FullParameters::parse(Some("count=ten&batch_size=0")).unwrap_err();
        let fields: Vec<_> = error.detail.iter().map(|wrong| (wrong.r#type.as_str(), wrong.loc[1].as_str())).collect();
        assert_eq!(fields, [("int_parsing", "count"), ("greater_than_equal", "batch_size")]);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for query in ["rate=-1", "rate=10000.1", "rate=nan", "rate=inf", "rate=", "seed=-1", "seed=1.5"] {
            assert!(StartParameters::parse(Some(query)).is_err(), "{query}");
        }
        for query in ["count=0", "count=-5", "count=10000001", "batch_size=100001", "count=1e3"] {
            assert!(FullParameters::parse(Some(query)).is_err(), "{query}");
        }
        assert_eq!(StartParameters::parse(Some("rate=1%2E5&rate=2.5")).unwrap().rate, 2.5);
    }

    proptest! {
        #[test]
        fn any_query_is_parsed_or_refused_without_a_crash(query in ".{0,60}", value in "[%0-9a-f.&=+-]{0,20}") {
            let _ = FullParameters::parse(Some(&query));
            let _ = FullParameters::parse(Some(&format!("count={value}")));
            let _ = StartParameters::parse(Some(&format!("rate={value}")));
        }
    }
}
