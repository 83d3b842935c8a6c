//! A rebuild affects one tenant only.

use super::{append, assert_cleaned_up, damage, folded, model, store_with};

#[test]
fn the_documents_of_other_tenants_are_not_touched() -> anyhow::Result<()> {
    let (database, store) = store_with(20)?;
    let others = ["acme", "zoo"].map(|name| -> anyhow::Result<_> {
        store.tenants().add(name)?;
        let tenant = store.tenant(name)?;
        append(&tenant, 12)?;
        Ok(tenant)
    });
    let [acme, zoo] = others;
    let (acme, zoo) = (acme?, zoo?);
    for tenant in [&store, &acme, &zoo] {
        damage(tenant)?;
    }
    let rows = || -> anyhow::Result<Vec<String>> {
        let rows = database.client()?.query(
            "SELECT format('%s %s', xmin, items) FROM items WHERE _partition <> 'acme' ORDER BY 1",
            &[],
        )?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    };
    let before = rows()?;

    let report = acme.rebuild("items").workers(2).batch_size(5).run()?;

    assert_eq!(report.handled, 12);
    assert_eq!(model(&acme, "items")?, folded(&acme)?);
    assert_eq!(rows()?, before);
    zoo.rebuild("items").run()?;
    store.rebuild("items").run()?;
    for tenant in [&store, &zoo] {
        assert_eq!(model(tenant, "items")?, folded(tenant)?);
    }
    assert_cleaned_up(&database)
}

#[test]
fn a_tenant_that_is_removed_takes_its_rebuild_with_it() -> anyhow::Result<()> {
    let (database, store) = store_with(5)?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    append(&acme, 12)?;
    let mut removed = false;

    let failed = acme
        .rebuild("items")
        .batch_size(5)
        .on_progress(|_| {
            if !removed {
                let removal = store.tenants().remove("acme").expect("a tenant");
                removal.with_all_data().expect("a removal");
                removed = true;
            }
        })
        .run();

    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_cleaned_up(&database)
}
