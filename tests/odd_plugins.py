"""Code of plugins that do what they must not, for ``plugins_with``; ``{wrong}`` stands for what that is."""

SMALL = {"frames": 7, "width": 32, "height": 24, "steps": 3, "seed": 1}

REGISTER = """
@longtake.hookimpl
def longtake_register_strategies(register):
    register(Odd)
"""
ATTENTION = """
class Odd(longtake.AttentionStrategy):
    name = "odd"
    def attend(self, q_PNFD, k_PNFD, v_PNFD, span, scale):
        if span.step < 1:
            return super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)
        return {wrong}
"""
POSITIONAL = """
class Odd(longtake.PositionalStrategy):
    name = "odd"
    def positions(self, frames_F, span):
        return {wrong}
"""
