//! Fixtures of a scenario: a store with a tenant, scripted connections, readers, and a schema with removable parts.

use crate::support::{database, wait_until};
use emmett_postgresql::{EventStore, FeedOptions, RawEvent, testing};
use postgres::{Client, GenericClient};

/// The partition of the store itself, and the tenant beside it.
pub(crate) const DEFAULT: &str = "emt:default";
pub(crate) const ACME: &str = "acme";

pub(crate) struct Ground {
    pub(crate) store: EventStore,
    pub(crate) acme: EventStore,
    pub(crate) database: testing::Database,
}

impl Ground {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::changed_by(&[])
    }

    /// With changes to the schema, made before anybody has used it.
    pub(crate) fn changed_by(changes: &[Change<'_>]) -> anyhow::Result<Self> {
        let database = database();
        let store = EventStore::open(database.url())?;
        store.tenants().add(ACME)?;
        let mut client = database.client()?;
        changes
            .iter()
            .try_for_each(|change| change.make(&mut client))?;
        Ok(Self {
            acme: store.tenant(ACME)?,
            store,
            database,
        })
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(self.database.client()?)
    }

    /// A connection with an open transaction.
    pub(crate) fn begin(&self) -> anyhow::Result<Client> {
        let mut client = self.client()?;
        client.batch_execute("BEGIN")?;
        Ok(client)
    }

    pub(crate) fn set_sequence(&self, last_value: i64) -> anyhow::Result<()> {
        let set = "SELECT setval('public.emt_global_message_position', $1)";
        self.client()?.query(set, &[&last_value])?;
        Ok(())
    }

    /// Waits until so many connections of this database wait for a lock.
    pub(crate) fn wait_for_waiting(&self, connections: i64) -> anyhow::Result<()> {
        let mut client = self.client()?;
        let waiting = "
            SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait_until("a connection waits for a lock", || {
            client
                .query_one(waiting, &[])
                .is_ok_and(|row| row.get::<_, i64>(0) >= connections)
        });
        Ok(())
    }

    /// The positions of all stored messages of a partition, in order.
    pub(crate) fn stored(&self, partition: &str) -> anyhow::Result<Vec<u64>> {
        let all = "
            SELECT coalesce(global_position, 0) FROM public.emt_messages
             WHERE partition = $1 ORDER BY global_position";
        self.client()?
            .query(all, &[&partition])?
            .iter()
            .map(|row| Ok(u64::try_from(row.get::<_, i64>(0))?))
            .collect()
    }
}

/// Appends one message by the SQL function, on a connection of the test's own. Returns its global position.
pub(crate) fn append(
    client: &mut impl GenericClient,
    partition: &str,
    stream: &str,
) -> anyhow::Result<u64> {
    append_in_schema(client, "public", partition, stream)
}

pub(crate) fn append_in_schema(
    client: &mut impl GenericClient,
    schema: &str,
    partition: &str,
    stream: &str,
) -> anyhow::Result<u64> {
    let call = format!(
        "SELECT global_positions[1]
           FROM \"{schema}\".emt_append_to_stream(
                    ARRAY[gen_random_uuid()::TEXT], ARRAY['{{}}'::JSONB], ARRAY['{{}}'::JSONB], ARRAY['1'],
                    ARRAY['Noted'], ARRAY['E'], $1, 'Note', NULL, $2)"
    );
    let row = client.query_one(&call, &[&stream, &partition])?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
}

/// Somebody who reads a feed from time to time and remembers where it was.
pub(crate) struct Reader {
    store: EventStore,
    batch_size: usize,
    pub(crate) after: u64,
    pub(crate) seen: Vec<u64>,
}

impl Reader {
    pub(crate) fn new(store: &EventStore) -> Self {
        Self {
            store: store.clone(),
            batch_size: 100,
            after: 0,
            seen: Vec::new(),
        }
    }

    pub(crate) fn batch_size(mut self, messages: usize) -> Self {
        self.batch_size = messages;
        self
    }

    pub(crate) fn read(&mut self) -> anyhow::Result<()> {
        let options = FeedOptions::new()
            .after(self.after)
            .batch_size(self.batch_size);
        let mut feed = self.store.read_all::<RawEvent>(options);
        for message in &mut feed {
            self.seen.push(message?.global_position);
        }
        self.after = feed.position();
        Ok(())
    }
}

/// A change to the schema of a scenario's own database.
pub(crate) enum Change<'a> {
    /// Writes one piece of a function's text in the place of another.
    Rewrite {
        function: &'a str,
        replace: &'a str,
        with: &'a str,
    },
    Sql(&'a str),
}

impl Change<'_> {
    pub(crate) fn make(&self, client: &mut Client) -> anyhow::Result<()> {
        let changed = match *self {
            Self::Sql(sql) => sql.to_owned(),
            Self::Rewrite {
                function,
                replace,
                with,
            } => {
                let text = definition(client, function)?;
                anyhow::ensure!(text.contains(replace), "{function} has no {replace:?}");
                text.replace(replace, with)
            }
        };
        Ok(client.batch_execute(&changed)?)
    }
}

fn definition(client: &mut Client, function: &str) -> anyhow::Result<String> {
    let sql = "SELECT pg_get_functiondef($1::TEXT::REGPROC)";
    let qualified = if function.contains('.') {
        function.to_owned()
    } else {
        format!("public.{function}")
    };
    Ok(client.query_one(sql, &[&qualified])?.get(0))
}

/// Tells whether what was promised came true.
pub(crate) type Scenario = fn(&Ground) -> anyhow::Result<bool>;

/// Proves that a scenario comes out well, and that it does not once the part is taken out of the schema.
#[track_caller]
pub(crate) fn fails_without(part: &[Change<'_>], scenario: Scenario) -> anyhow::Result<()> {
    assert!(scenario(&Ground::new()?)?, "with the schema as it is");
    assert!(
        !scenario(&Ground::changed_by(part)?)?,
        "with the part taken out"
    );
    Ok(())
}
