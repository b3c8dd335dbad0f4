//! milepost-agent
