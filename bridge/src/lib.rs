//! milepost-bridge
