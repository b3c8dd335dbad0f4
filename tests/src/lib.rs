//! milepost-tests
