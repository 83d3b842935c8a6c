//! Each SQLSTATE of PostgreSQL has exactly one meaning, chosen deliberately.

use super::{Meaning, Wait};
use postgres::error::SqlState;

const STANDS: [(Meaning, &str); 8] = [
    (Meaning::WrongServer, "25006 SE002"),
    (
        Meaning::Wait(Wait::InTheWay),
        "40000 40001 40002 40003 40P01 55006 55P03 57000 57014 72000",
    ),
    (
        Meaning::Wait(Wait::Exhausted),
        "53000 53100 53200 53300 53400 58000 58030 58P01 58P02 58P03 HV00N XX001 XX002",
    ),
    (
        Meaning::Wait(Wait::SessionEnded),
        "25P03 25P04 57P01 57P03 57P04 57P05",
    ),
    (
        Meaning::Wait(Wait::ServerLost),
        "08000 08001 08003 08004 08006 08007 08P01 57P02",
    ),
    (Meaning::StalePlan, "26000"),
    (
        Meaning::Ours,
        "28000 28P01 3D000 F0000 F0001 SE001 SE003 SE010 SE011 SE013 SE014 SE040",
    ),
    (
        Meaning::Statement,
        "00000 01000 01003 01004 01006 01007 01008 0100C 01P01 02000 02001 03000 09000 0A000 0B000 0F000 0F001 0L000 \
         0LP01 0P000 0Z000 0Z002 20000 21000 \
         22000 22001 22002 22003 22004 22005 22007 22008 22009 2200B 2200C 2200D 2200F 2200G 2200H 2200L 2200M 2200N \
         2200S 2200T 22010 22011 22012 22013 22014 22015 22016 22018 22019 2201B 2201E 2201F 2201G 2201W 2201X 22021 \
         22022 22023 22024 22025 22026 22027 2202E 2202G 2202H 22030 22031 22032 22033 22034 22035 22036 22037 22038 \
         22039 2203A 2203B 2203C 2203D 2203E 2203F 2203G 22P01 22P02 22P03 22P04 22P05 22P06 \
         23000 23001 23502 23503 23505 23514 23P01 24000 25000 25001 25002 25003 25004 25005 25007 25008 25P01 25P02 \
         27000 2B000 2BP01 2D000 2F000 2F002 2F003 2F004 2F005 34000 38000 38001 38002 38003 38004 39000 39001 39004 \
         39P01 39P02 39P03 3B000 3B001 3F000 \
         42000 42501 42601 42602 42611 42622 42701 42702 42703 42704 42710 42712 42723 42725 42803 42804 42809 42830 \
         42846 42883 428C9 42939 42P01 42P02 42P03 42P04 42P05 42P06 42P07 42P08 42P09 42P10 42P11 42P12 42P13 42P14 \
         42P15 42P16 42P17 42P18 42P19 42P20 42P21 42P22 44000 54000 54001 54011 54023 55000 55P02 55P04 \
         HV000 HV001 HV002 HV004 HV005 HV006 HV007 HV008 HV009 HV00A HV00B HV00C HV00D HV00J HV00K HV00L HV00M HV00P \
         HV00Q HV00R HV010 HV014 HV021 HV024 HV090 HV091 P0000 P0001 P0002 P0003 P0004 XX000 \
         SE004 SE005 SE020 SE030 SE031 SE032 SE033 SE034 SE035",
    ),
];

fn stands() -> impl Iterator<Item = (Meaning, &'static str)> {
    STANDS
        .into_iter()
        .flat_map(|(meaning, codes)| codes.split_whitespace().map(move |code| (meaning, code)))
}

#[test]
fn each_code_means_what_stands_here() {
    for (meaning, code) in stands() {
        assert_eq!(Meaning::of_sqlstate(code), meaning, "{code}");
    }
}

/// Whether the driver's list of PostgreSQL's codes has this one. It has no iterator.
fn is_of_postgres(code: &str) -> bool {
    !format!("{:?}", SqlState::from_code(code)).contains("Other")
}

#[test]
fn each_code_of_postgres_stands_here_once() {
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').collect();
    let mut missing = Vec::new();
    let mut found = 0;
    for class in classes() {
        for rest in 0..36_usize.pow(3) {
            let rest = [rest / 36 / 36, rest / 36 % 36, rest % 36].map(|digit| digits[digit]);
            let code = format!("{class}{}{}{}", rest[0], rest[1], rest[2]);
            if !is_of_postgres(&code) {
                continue;
            }
            found += 1;
            if stands().filter(|(_, known)| *known == code).count() != 1 {
                missing.push(code);
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(found >= 260, "{found}");
}

/// The classes of the table, and the ones that it does not have.
fn classes() -> impl Iterator<Item = String> {
    let digits = || ('0'..='9').chain('A'..='Z');
    let all = digits().flat_map(move |one| digits().map(move |two| format!("{one}{two}")));
    all.filter(|class| is_of_postgres(&format!("{class}000")))
}

#[test]
fn each_code_of_our_own_stands_here_and_in_the_map() {
    let map = include_str!("../../../schema.sql");
    let codes = map.lines().filter_map(|line| line.strip_prefix("--   SE"));
    let codes: Vec<String> = codes.map(|line| format!("SE{}", &line[..3])).collect();
    for code in &codes {
        assert_eq!(
            stands().filter(|(_, known)| known == code).count(),
            1,
            "{code}"
        );
    }
    let ours = stands().filter(|(_, code)| code.starts_with("SE"));
    assert_eq!(ours.count(), codes.len());
}
