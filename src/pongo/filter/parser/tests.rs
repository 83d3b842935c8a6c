use super::super::error::tests::check_refused;
use super::*;
use serde_json::json;

fn predicates(condition: &Value) -> Result<Vec<Predicate>, FilterError> {
    match filter("the filter", json!({"total": condition}))? {
        Condition::Field(_, predicates) => Ok(predicates),
        other => panic!("{other:?}"),
    }
}

fn whole_filter(document: Value) -> Result<Condition, FilterError> {
    filter("the filter", document)
}

fn field_total(condition: Value) -> Result<Condition, FilterError> {
    filter("the filter", json!({"total": condition}))
}

fn elements_of_items(condition: Value) -> Result<Condition, FilterError> {
    filter("the filter", json!({"items": {"$elemMatch": condition}}))
}

#[test]
fn a_value_is_something_to_be_equal_to() {
    for value in [
        json!(1),
        json!(null),
        json!({}),
        json!({"a": 1}),
        json!([]),
        json!([1]),
    ] {
        let expected = Ok(vec![Predicate::Equal(value.clone())]);
        assert_eq!(predicates(&value), expected);
        assert_eq!(predicates(&json!({"$eq": value})), expected);
    }
}

#[test]
fn every_operator_becomes_one_of_a_few_kinds() {
    let one = || json!(1);
    let equal = || Predicate::Equal(one());
    let not = |predicate| Predicate::Not(vec![predicate]);
    let nothing = || Predicate::AnyOf(vec![]);
    let cases = [
        (json!({"$ne": 1}), not(equal())),
        (json!({"$in": [1]}), Predicate::AnyOf(vec![one()])),
        (json!({"$in": []}), nothing()),
        (
            json!({"$nin": [1, 1]}),
            not(Predicate::AnyOf(vec![one(), one()])),
        ),
        (
            json!({"$gt": 1}),
            Predicate::Range(RangeOperator::Greater, one()),
        ),
        (
            json!({"$lte": 1}),
            Predicate::Range(RangeOperator::LessOrEqual, one()),
        ),
        (json!({"$gte": null}), Predicate::AnyOf(vec![Value::Null])),
        (json!({"$lt": null}), nothing()),
        (json!({"$exists": true}), Predicate::Exists),
        (json!({"$exists": false}), not(Predicate::Exists)),
        (
            json!({"$type": ["null", 3]}),
            Predicate::OfType(vec![JsonType::Null, JsonType::Object]),
        ),
        (json!({"$all": []}), nothing()),
        (json!({"$all": [1]}), Predicate::All(vec![equal()])),
        (json!({"$size": 2}), Predicate::Size(2)),
        (json!({"$size": 2.0}), Predicate::Size(2)),
        (
            json!({"$options": "i", "$regex": "a"}),
            Predicate::Matches(Regex::new("total", "a", "i").unwrap()),
        ),
        (
            json!({"$elemMatch": {"$eq": 1}}),
            Predicate::ElemMatch(ElementCondition::Value(vec![equal()])),
        ),
        (
            json!({"$not": {"$lt": 1}}),
            not(Predicate::Range(RangeOperator::Less, one())),
        ),
    ];
    for (condition, expected) in cases {
        assert_eq!(predicates(&condition), Ok(vec![expected]), "{condition}");
    }
}

#[test]
fn operators_keep_their_order() {
    let predicates = predicates(&json!({"$regex": "a", "$options": "i", "$ne": 1, "$size": 2}));
    assert!(matches!(
        predicates.unwrap()[..],
        [Predicate::Matches(_), Predicate::Not(_), Predicate::Size(2)]
    ));
}

#[test]
fn an_operand_that_an_operator_cannot_use_is_named() {
    check_refused(
        field_total,
        r#"
        {"$type": "int"}  =>  `$type` of `total` needs one of null, bool, number, string, array and object, or an array of them, not "int"
        {"$type": ["null", 16]}  =>  `$type` of `total` needs one of null, bool, number, string, array and object, or an array of them, not 16
        {"$type": []}  =>  `$type` of `total` needs one of null, bool, number, string, array and object, or an array of them, not []
        {"$all": 1}  =>  `$all` of `total` needs an array of values, not a number
        {"$all": [{"$elemMatch": {"a": 1}}, 1]}  =>  `$all` of `total` needs values only or objects of `$elemMatch` only, not a mixture
        {"$all": [{"$elemMatch": {"a": 1}, "$gt": 1}]}  =>  `$all` of `total` needs values only or objects of `$elemMatch` only, not a mixture
        {"$all": [{"$gt": 1}]}  =>  `total` is compared with a value that has the key `$gt`; an operator stands directly below a dotted path
        {"$size": -1}  =>  `$size` of `total` needs a whole number that is not negative, not -1
        {"$size": 1.5}  =>  `$size` of `total` needs a whole number that is not negative, not 1.5
        {"$size": "1"}  =>  `$size` of `total` needs a whole number that is not negative, not "1"
        {"$regex": 1}  =>  `$regex` of `total` needs a string, not a number
        {"$regex": "\u0000"}  =>  `total` is compared with text that contains U+0000
        {"$regex": "a", "$options": "ig"}  =>  `$options` of `total` needs a string of the letters i, m, s and x, not "g"
        {"$regex": "a", "$options": null}  =>  `$options` of `total` needs a string of the letters i, m, s and x, not null
        {"$options": "i"}  =>  the operator `$options` is not supported without `$regex` for the field `total`
        {"$not": {"$options": "i"}}  =>  the operator `$options` is not supported without `$regex` for the field `total`
        "#,
    );
}

#[test]
fn what_is_wrong_with_a_field_is_named() {
    check_refused(
        field_total,
        r#"
        {"$gte": 1, "x": 2}  =>  `total` mixes the operator `$gte` with the plain key `x`
        {"$near": "a"}  =>  the operator `$near` is not supported for the field `total`
        {"$mod": 1}  =>  the operator `$mod` is not supported for the field `total`
        {"$bitsAllSet": 1}  =>  the operator `$bitsAllSet` is not supported for the field `total`
        {"$in": "a"}  =>  `$in` of `total` needs an array of values, not a string
        {"$exists": 1}  =>  `$exists` of `total` needs true or false, not a number
        {"$not": {}}  =>  `$not` of `total` needs an object with operators, not an empty object
        {"$lt": [1]}  =>  `$lt` of `total` needs a string, a number, a boolean or null, not an array
        {"$ne": "\u0000"}  =>  `total` is compared with text that contains U+0000
        [{"a\u0000": 1}]  =>  `total` is compared with text that contains U+0000
        {"a": {"$gt": 1}}  =>  `total` is compared with a value that has the key `$gt`; an operator stands directly below a dotted path
        "#,
    );
}

#[test]
fn what_is_wrong_with_a_filter_is_named() {
    check_refused(
        whole_filter,
        r#"
        7  =>  the filter must be an object, not a number
        {"$or": [{}, []]}  =>  each entry of `$or` must be an object, not an array
        {"$and": []}  =>  `$and` needs an array of filters with at least one entry
        {"$nor": {}}  =>  `$nor` needs an array of filters with at least one entry
        {"$gt": 1}  =>  the operator `$gt` is not supported beside the fields of a filter
        {"$expr": 1}  =>  the operator `$expr` is not supported beside the fields of a filter
        {"$where": 1}  =>  the operator `$where` is not supported beside the fields of a filter
        {"$text": 1}  =>  the operator `$text` is not supported beside the fields of a filter
        {"$jsonSchema": 1}  =>  the operator `$jsonSchema` is not supported beside the fields of a filter
        {"$comment": 1}  =>  the operator `$comment` is not supported beside the fields of a filter
        {"a..b": 1}  =>  `a..b` is not a field: it has an empty name
        "#,
    );
}

#[test]
fn what_is_wrong_with_an_element_is_named() {
    check_refused(
        elements_of_items,
        r#"
        7  =>  `$elemMatch` of `items` needs an object with operators or fields, not a number
        {"$gt": 1, "sku": 1}  =>  `items` mixes the operator `$gt` with the plain key `sku`
        {"$or": [{"sku": 1}], "$gt": 1}  =>  the operator `$gt` is not supported beside the fields of a filter
        {"sku": {"$foo": 1}}  =>  the operator `$foo` is not supported for the field `sku`
        {"$or": [{"$gt": 1}]}  =>  the operator `$gt` is not supported beside the fields of a filter
        "#,
    );
}
