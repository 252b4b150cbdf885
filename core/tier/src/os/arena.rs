//! The tier file: a home for large arrays that can leave DRAM and come back at the same address.
pub const TIER_FILE_PREFIX: &str = "larder-tier-";
