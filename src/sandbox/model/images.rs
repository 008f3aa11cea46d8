//! Published tags of the runtime image.

/// Tags of the stable channel. The first tag is the recommended tag.
pub(crate) const STABLE_TAGS: [&str; 2] = ["2.0.1", "2.0.0"];
/// Tags of the enterprise channel. The first tag is the recommended tag.
pub(crate) const ENTERPRISE_TAGS: [&str; 2] = ["2.0.1-enterprise", "2.0.0-enterprise"];

/// Returns whether a tag is published for a channel. An app without a channel uses the stable channel. The public
/// documentation lists no tags for other channels, so those channels accept any tag.
pub(crate) fn is_published(tag: &str, channel: Option<&str>) -> bool {
    let is_stable = channel.is_none_or(|channel| channel == "stable");
    !is_stable || STABLE_TAGS.contains(&tag) || ENTERPRISE_TAGS.contains(&tag)
}
