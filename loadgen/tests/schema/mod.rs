//! As much of JSON Schema (draft 2020-12) as loadgen/schema/result.json uses. A keyword that it does not know
//! is a failure, so that nothing is left unchecked.

use serde_json::Value;

/// Panics with the place unless `value` is what loadgen/schema/result.json describes.
pub(crate) fn assert_valid(value: &Value) {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/result.json");
    let root: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    if let Err(error) = check(&root, &root, value, "") {
        panic!("{error}");
    }
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let schema = schema.as_object().ok_or("a schema is an object")?;
    for (keyword, rule) in schema {
        let is_kept = match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" => true,
            "$ref" => {
                let target = rule.as_str().and_then(|path| path.strip_prefix('#')).ok_or("a local $ref")?;
                let target = root.pointer(target).ok_or_else(|| format!("no {target}"))?;
                return check(root, target, value, place);
            }
            "oneOf" => {
                let errors: Vec<String> = rule
                    .as_array()
                    .ok_or("oneOf is a list")?
                    .iter()
                    .filter_map(|choice| check(root, choice, value, place).err())
                    .collect();
                if errors.len() + 1 != rule.as_array().map_or(0, Vec::len) {
                    return Err(format!("{place}: not one of\n{}", errors.join("\n")));
                }
                true
            }
            "type" => rule
                .as_array()
                .map_or_else(|| is_type(rule, value), |types| types.iter().any(|one| is_type(one, value))),
            "const" => value == rule,
            "enum" => rule.as_array().is_some_and(|values| values.contains(value)),
            "minimum" => value.as_f64().is_none_or(|number| Some(number) >= rule.as_f64()),
            "required" => {
                let mut names = rule.as_array().ok_or("required is a list")?.iter();
                names.all(|name| name.as_str().is_some_and(|name| value.get(name).is_some()))
            }
            "properties" => {
                for (name, rule) in rule.as_object().ok_or("properties are an object")? {
                    if let Some(value) = value.get(name) {
                        check(root, rule, value, &format!("{place}/{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(name)) {
                        continue;
                    }
                    if rule == false {
                        return Err(format!("{place}/{name} is not in the schema"));
                    }
                    check(root, rule, value, &format!("{place}/{name}"))?;
                }
                true
            }
            "items" => {
                for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, value, &format!("{place}/{at}"))?;
                }
                true
            }
            other => return Err(format!("the check does not know \"{other}\"")),
        };
        if !is_kept {
            return Err(format!("{place}: {value} breaks {keyword} {rule}"));
        }
    }
    Ok(())
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("null") => value.is_null(),
        _ => false,
    }
}
