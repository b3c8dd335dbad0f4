//! milepost-transform-host
