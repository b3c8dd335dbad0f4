//! milepost-sink
