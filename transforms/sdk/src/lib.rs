//! milepost-transform
