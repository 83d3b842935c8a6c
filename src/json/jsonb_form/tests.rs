use super::super::{check_json_text, to_json};
use super::jsonb_form;
use crate::fuzz::Fuzz;
use crate::testing::Server;
use serde_json::Value;

fn form(json: &str) -> String {
    String::from_utf8(jsonb_form(json.as_bytes()).unwrap()).unwrap()
}

#[test]
fn keys_are_sorted_and_numbers_are_decimal() {
    for (json, expected) in [
        ("{}", "{}"),
        (
            r#"{"b":1,"aa":[],"a":null,"b":2}"#,
            r#"{"a": null, "b": 2, "aa": []}"#,
        ),
        (
            "[1e2,1.50,-1.5e1,1.50e1,1e-3,-0.0,-0,10e-1]",
            "[100, 1.50, -15, 15.0, 0.001, 0.0, 0, 1.0]",
        ),
        (
            "[0e3,0.00e1,123.456e-2,5e-324]",
            &format!("[0, 0.0, 1.23456, 0.{}5]", "0".repeat(323)),
        ),
        (r#""\u0041\u000b\n\u00e9""#, "\"A\\u000b\\né\""),
        (" [ true , false ] ", "[true, false]"),
    ] {
        assert_eq!(form(json), expected, "{json}");
    }
}

#[test]
fn values_have_the_form_that_the_server_gives_them() -> Result<(), Box<dyn std::error::Error>> {
    let database = Server::shared()?.create_database()?;
    let mut client = database.client()?;
    let store = client.prepare("SELECT convert_from($1, 'UTF8')::JSONB::TEXT")?;
    Fuzz::parser("json_text").inputs(4_000).run(move |input| {
        // A program stores only JSON that `serde_json` has written.
        let Ok(value) = serde_json::from_slice::<Value>(input) else {
            return Ok(());
        };
        let Ok(json) = to_json(&value) else {
            return Ok(());
        };
        if check_json_text(&json).is_err() {
            return Ok(());
        }
        let stored = client.query_one(&store, &[&json]);
        let stored: String = stored.map_err(|error| format!("{error:?}"))?.get(0);
        let own = jsonb_form(&json).map_err(|error| error.to_string())?;
        if own == stored.as_bytes() {
            return Ok(());
        }
        Err(format!(
            "it is stored as {stored}, but formed as {}",
            own.escape_ascii()
        ))
    });
    drop(database);
    Ok(())
}
