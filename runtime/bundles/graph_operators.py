"""ONNX's operators, by what they do to the memory that a graph takes."""

from typing import Final


def _named(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Those that a model may have: ONNX's less those that draw, loop, keep sequences or texts, or that ONNX Runtime replaces
# by dozens of others.
OPERATORS: Final = _named(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift Cast CastLike Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp
    Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Hardmax IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean
    Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt
    Sub Sum Tan Tanh ThresholdedRelu Where Xor

    ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare TopK

    Concat Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND Identity NonZero
    OneHot Pad Range Reshape Resize ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose
    Trilu Unsqueeze Upsample

    AveragePool BatchNormalization Conv ConvInteger ConvTranspose DequantizeLinear Dropout DynamicQuantizeLinear Einsum
    GRU Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample GroupNormalization InstanceNormalization LRN LSTM
    LayerNormalization LogSoftmax LpNormalization LpPool MatMul MatMulInteger MaxPool MeanVarianceNormalization
    QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Softmax
    """
)
# Whose output can be as large as a number among their inputs says.
GROWING: Final = _named("ConstantOfShape EyeLike Expand OneHot Pad Range Resize Tile Upsample")
# Whose output is as many numbers as the largest of their inputs.
COPIES: Final = ("Cast", "Constant", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Transpose")
# What computes a few numbers, such as sizes, of a few.
SMALL: Final = _named(
    """
    Abs Add And Concat Div Equal Floor Gather Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Neg Not Or
    ReduceMax ReduceMin ReduceProd ReduceSum Slice Squeeze Sub Unsqueeze Where
    """
)
# Of these, what gives no more numbers than its largest input has.
SHRINKS: Final = _named("Abs Floor Neg Not ReduceMax ReduceMin ReduceProd ReduceSum Slice Squeeze Unsqueeze")
# What copies a weight into blocks of so many rows or columns.
PACKS: Final = _named("Conv ConvInteger ConvTranspose GRU Gemm LSTM MatMul MatMulInteger QLinearConv QLinearMatMul RNN")
# What gives as many rows as its first input has, whatever its others are.
KEEPS_ROWS: Final = _named(
    """
    Abs AveragePool BatchNormalization Cast Ceil Celu Clip Conv ConvTranspose Cos DequantizeLinear Dropout Elu Erf Exp
    Floor Gelu GlobalAveragePool GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization
    LayerNormalization LeakyRelu Log LogSoftmax MaxPool Mish Neg Not PRelu QuantizeLinear Reciprocal Relu Round Selu
    Sigmoid Sign Sin Slice Softmax Softplus Softsign Sqrt Tanh
    """
)
# What gives as many rows as its inputs have, where they all have them or are the same for each row.
BROADCASTS: Final = _named(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or Pow Sub Sum Where Xor"
)
