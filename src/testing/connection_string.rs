/// The same connection string with another database, in both forms: `postgresql://…`, and
/// `host=… dbname=…`, where the last `dbname` counts.
pub(super) fn with_database(url: &str, database: &str) -> String {
    let Some((scheme, rest)) = url
        .split_once("://")
        .filter(|(scheme, _)| !scheme.contains('='))
    else {
        return format!("{url} dbname={database}");
    };
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let server = place.split_once('/').map_or(place, |(server, _)| server);
    let kept: Vec<&str> = parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty() && !parameter.starts_with("dbname="))
        .collect();
    let question_mark = if kept.is_empty() { "" } else { "?" };
    format!(
        "{scheme}://{server}/{database}{question_mark}{}",
        kept.join("&")
    )
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn another_database_replaces_the_one_in_a_connection_string() {
        for (given, expected) in [
            (
                "postgresql://ada:pw@db:5433/old",
                "postgresql://ada:pw@db:5433/new",
            ),
            (
                "postgres://db?sslmode=disable",
                "postgres://db/new?sslmode=disable",
            ),
            (
                "postgresql:///old?host=/tmp/x&dbname=old&port=1",
                "postgresql:///new?host=/tmp/x&port=1",
            ),
            (
                "host=/tmp/x dbname=old",
                "host=/tmp/x dbname=old dbname=new",
            ),
            (
                "host=/tmp/x password=a://b",
                "host=/tmp/x password=a://b dbname=new",
            ),
        ] {
            assert_eq!(with_database(given, "new"), expected);
        }
        let settings: postgres::Config = with_database("host=/tmp/x dbname=old", "new")
            .parse()
            .unwrap();
        assert_eq!(settings.get_dbname(), Some("new"));
    }
}
