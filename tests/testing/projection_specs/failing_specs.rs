//! The words of specifications of projections that do not hold.

use super::{TOTALS, cart_summaries, confirmed, product_totals, sales, shelves, summary};
use crate::support::{CartEvent, added, database};
use crate::testing::failing::{CHOSEN, each_says};
use emmett_postgresql::testing::ProjectionSpec;
use emmett_postgresql::{RawEvent, Recorded, SqlProjection};
use serde_json::json;

/// Fails on purpose; the test below reads its words.
#[test]
#[ignore = "it fails, and another test runs it for its words"]
fn specification_that_does_not_hold() {
    let carts = || ProjectionSpec::of(cart_summaries()).given("Cart-1", [added("shoes", 2)]);
    let hats = |count| [added("hat", count)];
    match std::env::var(CHOSEN).as_deref() {
        Ok("field") => {
            carts()
                .when("Cart-1", hats(1))
                .document("Cart-1", summary(4, 2)); // field
        }
        Ok("missing") => {
            carts()
                .when("Cart-1", hats(1))
                .document("Cart-2", summary(3, 1)); // missing
        }
        Ok("not deleted") => {
            carts().when("Cart-1", hats(1)).no_document("Cart-1"); // not deleted
        }
        Ok("beside") => {
            carts()
                .when("Cart-2", hats(1))
                .documents([("Cart-1", summary(2, 1))]); // beside
        }
        Ok("repeated") => {
            ProjectionSpec::of(product_totals())
                .when("Cart-1", hats(2))
                .twice() // repeated
                .document("hat", json!({"sold": 2}));
        }
        Ok("repeated rows") => {
            ProjectionSpec::asynchronous(&database(), sales(false))
                .given("Cart-1", [confirmed()])
                .when("Cart-2", [confirmed()])
                .times(3) // repeated rows
                .no_rows(TOTALS);
        }
        Ok("repeated inline") => {
            ProjectionSpec::inline(&database(), product_totals())
                .when("Cart-1", hats(2))
                .twice() // repeated inline
                .no_documents();
        }
        Ok("row") => {
            ProjectionSpec::inline(&database(), sales(true))
                .when("Cart-2", [confirmed()])
                .rows(TOTALS, [json!({"client": "anna", "total": 21.5})]); // row
        }
        Ok("query") => {
            ProjectionSpec::inline(&database(), sales(true))
                .when("Cart-2", [confirmed()])
                .no_rows("SELECT nothing FROM sales"); // query
        }
        Ok("no tables") => {
            let untold = SqlProjection::new("untold", |_: &[Recorded<CartEvent>], _| Ok(()));
            ProjectionSpec::inline(&database(), untold)
                .when("Cart-2", [confirmed()])
                .twice() // no tables
                .no_rows(TOTALS);
        }
        Ok("no collection") => {
            ProjectionSpec::inline(&database(), shelves())
                .when("Cart-1", hats(1))
                .no_documents(); // no collection
        }
        Ok("failed") => {
            let wrong = RawEvent::new("ProductItemAdded", json!({"quantity": "two"}));
            carts()
                .when("Cart-1", [wrong])
                .document("Cart-1", summary(3, 2)); // failed
        }
        Ok("given") => {
            let wrong = RawEvent::new("ProductItemAdded", json!({"quantity": "two"}));
            let _ = carts().given("Cart-1", [wrong]); // given
        }
        Ok("not failed") => carts()
            .when("Cart-1", hats(1))
            .fails_with("a sale of nothing"), // not failed
        Ok("other failure") => {
            let wrong = RawEvent::new("ProductItemAdded", json!({"quantity": "two"}));
            carts().when("Cart-1", [wrong]).fails_with("a sale"); // other failure
        }
        Ok("type") => {
            let _ = ProjectionSpec::of(cart_summaries().can_handle(&["Added"])); // type
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_specification_that_does_not_hold_names_the_field_and_the_callers_line() -> anyhow::Result<()> {
    let expected = [
        (
            "field",
            "document \"Cart-1\":\n  totalItems: expected 4, found 3\n",
        ),
        (
            "missing",
            "document \"Cart-2\": expected {\"totalItems\":3,\"seen\":1}, found nothing; there are the documents \"Cart-1\"",
        ),
        (
            "not deleted",
            "document \"Cart-1\": expected nothing, found {",
        ),
        ("beside", "document \"Cart-2\": expected nothing, found {"),
        (
            "repeated",
            "delivery 2 of the same events changes what the projection has written:\n  document \"hat\": sold: 2 after delivery 1, 4 after delivery 2\n",
        ),
        (
            "repeated rows",
            "row 1 of \"sales\": total: 40 after delivery 1, 60 after delivery 2",
        ),
        (
            "repeated inline",
            "document \"hat\" of \"product_totals\": sold: 2 after delivery 1, 4 after delivery 2",
        ),
        ("row", "the rows:\n  row 1: total: expected 21.5, found 20"),
        ("query", "column \"nothing\" does not exist"),
        ("no tables", "list them in SqlProjection::tables"),
        (
            "no collection",
            "is not written by the projection \"stock\", which declares the tables [\"shelves\"]",
        ),
        ("failed", "the events could not be handled: "),
        ("given", "the given events could not be handled: "),
        (
            "not failed",
            "expected a failure with \"a sale of nothing\", but the events were handled",
        ),
        (
            "other failure",
            "expected a failure with \"a sale\", found another: ",
        ),
        ("type", "cannot handle [\"Added\"]"),
    ];
    each_says(
        "testing::projection_specs::failing_specs::specification_that_does_not_hold",
        include_str!("failing_specs.rs"),
        &expected,
    )
}
