"""Where limits are counted, and how handlers spend from them: `headgate.kit.limits.limiter` is the way in."""
