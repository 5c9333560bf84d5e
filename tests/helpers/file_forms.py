"""The forms in which a network is written to files: what exports one, and what runs it."""

from ssn_mm.deploy import (
    OnnxProgram,
    OpenVinoProgram,
    TorchProgram,
    export_onnx,
    export_openvino,
    export_program,
)

FORMS = {  # by the suffix of the file
    'pt2': (export_program, TorchProgram),
    'onnx': (export_onnx, OnnxProgram),
    'xml': (export_openvino, OpenVinoProgram),
}
