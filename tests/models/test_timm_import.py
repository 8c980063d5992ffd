"""Import of timm without torch's compiler."""

import subprocess
import sys

import pytest

CODE = """
import sys
from dalib.models.timm_import import import_timm
timm = import_timm()
assert timm.is_model("tf_efficientnet_lite0")
print("torch._dynamo" in sys.modules)
import torch
from torchvision.ops import roi_align
boxes = torch.tensor([[0.0, 0, 0, 4, 4]])
assert torch.allclose(roi_align(torch.ones(1, 1, 8, 8), boxes, 2), torch.ones(1, 1, 2, 2))
import torch._dynamo
assert torch._dynamo.utils.is_compile_supported("cpu") is not None
assert torch._dynamo.config.recompile_limit > 0
assert import_timm() is timm
"""

USED_MEANWHILE = """
import sys
from dalib.models.timm_import import _compiler_on_use
with _compiler_on_use():
    import torch
    from torch._dynamo.utils import is_compile_supported
    doubled = torch.compiler.disable(lambda number: 2 * number)
    assert not hasattr(sys.modules["torch._dynamo"], "__wrapped__")
    limit = torch._dynamo.config.recompile_limit
assert limit > 0
assert hasattr(sys.modules["torch._dynamo"], "optimize")
is_compile_supported("cpu")
assert doubled(4) == 8
"""


@pytest.mark.parametrize(("code", "said"), [(CODE, "False"), (USED_MEANWHILE, "")])
def test_timm_is_imported_without_the_compiler_which_comes_when_it_is_used(code, said):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == said
