//! Folding a stream into a state.

use crate::database::connections::proxy::{Loss, Proxy};
use crate::support::{CartEvent, added, database, quiet, store};
use emmett_postgresql::{AppendOptions, ReadOptions, Recorded};

fn removed(product: &str, quantity: u32) -> CartEvent {
    CartEvent::ProductItemRemoved {
        product_id: product.into(),
        quantity,
        price: 10.0,
    }
}

fn fold(items: u32, event: CartEvent) -> u32 {
    match event {
        CartEvent::ProductItemAdded { quantity, .. } => items + quantity,
        CartEvent::ProductItemRemoved { quantity, .. } => items - quantity,
        CartEvent::ShoppingCartConfirmed { .. } => items,
    }
}

#[test]
fn a_state_is_folded_in_order_and_says_which_version_to_expect() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    // In any other order, there would be fewer than none.
    store.append_to_stream("Cart-1", &[added("hat", 3), removed("hat", 2)])?;
    store.append_to_stream("Cart-1", &[removed("hat", 1), added("hat", 7)])?;

    let cart = store.aggregate_stream("Cart-1", || 0, fold)?;
    let options = AppendOptions::new().expected_version(cart.current_version);
    let appended = store.append_to_stream_with("Cart-1", &[removed("hat", 7)], options)?;

    assert_eq!(
        (cart.state, cart.current_version, cart.exists),
        (7, 4, true)
    );
    assert_eq!(appended.next_expected_version, 5);
    Ok(())
}

#[test]
fn a_fold_gets_what_was_recorded_beside_the_events() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let appended =
        store.append_to_stream("Cart-1", &[added("a", 1), added("b", 2), added("c", 3)])?;

    let positions = store.aggregate_stream_with(
        "Cart-1",
        ReadOptions::new().from(2),
        Vec::new,
        |mut positions, recorded: Recorded<CartEvent>| {
            positions.push(recorded.global_position);
            positions
        },
    )?;

    assert_eq!(positions.state, appended.global_positions[1..]);
    assert_eq!(positions.current_version, 3);
    Ok(())
}

#[test]
fn a_fold_that_loses_its_connection_begins_again() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url()).open()?;
    let events: Vec<_> = (0..2_000).map(|_| added("hat", 1)).collect();
    store.append_to_stream("Cart-1", &events)?;
    store.aggregate_stream("Cart-1", || 0, fold)?;

    for loss in [Loss::Answer, Loss::PartOfAnswer, Loss::Statement] {
        proxy.lose(loss, "message_data");
        let mut begun = 0;
        let cart = store.aggregate_stream(
            "Cart-1",
            || 0,
            |items, event| {
                begun += u32::from(items == 0);
                fold(items, event)
            },
        )?;

        assert_eq!(
            (cart.state, cart.current_version),
            (2_000, 2_000),
            "{loss:?}"
        );
        assert_eq!(begun, if loss == Loss::PartOfAnswer { 2 } else { 1 });
    }
    Ok(())
}
