#![doc = include_str!("../docs/links.md")]
#![doc = include_str!("../docs/README.md")]

/// Mounts the pages of a shelf.
///
/// Each page follows the definitions of all links. Of several definitions of a name, the first one counts, so a page leads to files
/// on a forge, and to `crate::guide` here. The line of a failing block counts from the first line of `docs/links.md`.
macro_rules! shelf {
    ($(#[doc = $question:literal])* $shelf:ident { $($page:ident = $file:literal,)* }) => {
        $(#[doc = $question])*
        pub mod $shelf {
            $(
                #[doc = include_str!("../docs/links.md")]
                #[doc = include_str!(concat!("../docs/", stringify!($shelf), "/", $file))]
                pub mod $page {}
            )*
        }
    };
}

shelf! {
    /// How do I get a first result?
    start {
        ten_minutes = "ten-minutes.md",
        which_call = "which-call.md",
    }
}

shelf! {
    /// Which ideas are there?
    learn {
        categories = "categories.md",
        consumers = "consumers.md",
        decisions = "decisions.md",
        documents = "documents.md",
        hotel = "hotel.md",
        read_models = "read-models.md",
        streams = "streams.md",
        tenants = "tenants.md",
        workflows = "workflows.md",
    }
}

shelf! {
    /// How do I do this?
    recipes {
        batch_jobs = "batch-jobs.md",
        erasure = "erasure.md",
        http = "http.md",
        schema_evolution = "schema-evolution.md",
    }
}

shelf! {
    /// How do I know that it works?
    test {
        programs = "programs.md",
        specifications = "specifications.md",
    }
}

shelf! {
    /// How do I run it?
    operate {
        backup = "backup.md",
        emmett_for_node = "emmett-for-node.md",
        monitoring = "monitoring.md",
        rolling_deployments = "rolling-deployments.md",
    }
}

shelf! {
    /// Is it the right choice?
    compare {
        others = "others.md",
        when_not = "when-not.md",
    }
}
