//! A workload file as a tree of named values, taken apart one field at a time, so that every error names its field.
//!
//! TOML and JSON say the same things; both become one kind of value here.

use serde_json::{Map, Value};

/// The fields of one object.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where the object stands, with a dot at the end; empty at the top.
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Those of an object at `path`, which may have these names and no others.
    pub(super) fn of(value: Value, path: &str, known: &[&str]) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return Err(format!("{path} is {}; a table of {} is expected", brief(&value), known.join(", ")));
        };
        let path = if path.is_empty() { String::new() } else { format!("{path}.") };
        match map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(format!("unknown field {path}{unknown}; known are {}", known.join(", "))),
            None => Ok(Self { path, map }),
        }
    }

    /// How a field is called in errors.
    pub(super) fn name(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    /// A field's value, whatever it is.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field)
    }

    /// A whole number within these bounds.
    pub(super) fn whole(&mut self, field: &str, min: u64, max: u64) -> Result<Option<u64>, String> {
        let name = self.name(field);
        self.take(field).map(|value| whole(&value, &name, min, max)).transpose()
    }

    /// As [`whole`](Self::whole), for what is counted in memory.
    pub(super) fn count(&mut self, field: &str, min: usize, max: usize) -> Result<Option<usize>, String> {
        // A usize has at most 64 bits here, and the bounds fit one.
        Ok(self.whole(field, min as u64, max as u64)?.map(|count| count as usize))
    }

    /// A number within these bounds.
    pub(super) fn number(&mut self, field: &str, min: f64, max: f64) -> Result<Option<f64>, String> {
        let name = self.name(field);
        let Some(value) = self.take(field) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number >= min && number <= max => Ok(Some(number)),
            _ => Err(format!("{name} is {}; a number from {min} to {max} is expected", brief(&value))),
        }
    }

    /// A list; empty if the field is not there.
    pub(super) fn list(&mut self, field: &str, entries_max: usize) -> Result<Vec<Value>, String> {
        let name = self.name(field);
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) if list.len() <= entries_max => Ok(list),
            Some(Value::Array(list)) => Err(format!("{name} has {} entries; {entries_max} are the most", list.len())),
            Some(other) => Err(format!("{name} is {}; a list is expected", brief(&other))),
        }
    }
}

/// A whole number within these bounds; `name` is for the error.
pub(super) fn whole(value: &Value, name: &str, min: u64, max: u64) -> Result<u64, String> {
    match value.as_u64() {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{name} is {}; a whole number from {min} to {max} is expected", brief(value))),
    }
}

/// Why a field must be there.
pub(super) fn missing(name: &str) -> String {
    format!("{name} is missing")
}

/// A value as it is named in an error: short.
fn brief(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "a table".to_owned(),
        Value::String(text) if text.len() > 40 => "a long text".to_owned(),
        other => other.to_string(),
    }
}
