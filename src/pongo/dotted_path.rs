//! Dotted paths such as `address.city`, of filters and of updates.

/// The names of a path, or what is wrong with it.
pub(super) fn names(path: &str) -> Result<Vec<&str>, &'static str> {
    let names: Vec<&str> = path.split('.').collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err("it has an empty name");
    }
    if names.iter().any(|name| name.starts_with('$')) {
        return Err("its names must not begin with `$`");
    }
    if path.contains('\0') {
        return Err("it contains U+0000");
    }
    Ok(names)
}
