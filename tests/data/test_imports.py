import subprocess
import sys


def test_imports_and_digits_without_flower_and_torchvision():
    """On a machine with torch and numpy alone, the shipped data and the networks are there."""
    code = """
import sys
for name in ("flwr", "flwr_datasets", "datasets", "ray", "torchvision", "PIL"):
    sys.modules[name] = None
import fedgates.data, fedgates.models
data = fedgates.data.load("digits", "~")
x, y = fedgates.data.to_tensors(data.test, "cpu")
model = fedgates.models.build("cnn", data.input_shape, data.num_classes)
print(tuple(model(fedgates.data.normalise(x)).shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(360, 10)\n", "")
