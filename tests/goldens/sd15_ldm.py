def to_ldm(*a): raise NotImplementedError
def check_against_diffusers(*a): raise NotImplementedError
