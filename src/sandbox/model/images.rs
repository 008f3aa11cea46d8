//! The tags of the images that apps run (contract, section 12).

/// Those of the stable channel, the recommended one first.
pub(crate) const STABLE_TAGS: [&str; 2] = ["2.0.1", "2.0.0"];
/// Those that need a subscription, the recommended one first.
pub(crate) const ENTERPRISE_TAGS: [&str; 2] = ["2.0.1-enterprise", "2.0.0-enterprise"];

/// Whether an app on a channel may be held to a tag. Of the other channels than the stable one no source lists the tags,
/// so that any will do; the stable one is what an app is on that names none.
pub(crate) fn is_published(tag: &str, channel: Option<&str>) -> bool {
    let is_stable = channel.is_none_or(|channel| channel == "stable");
    !is_stable || STABLE_TAGS.contains(&tag) || ENTERPRISE_TAGS.contains(&tag)
}
