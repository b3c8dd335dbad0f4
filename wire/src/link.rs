//! The serial link between a board and the agent.
