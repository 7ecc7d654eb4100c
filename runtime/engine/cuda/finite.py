"""A kernel that tells whether all numbers of an array are finite: on the card that costs nothing, on the host a lot.

NVIDIA's driver translates it for the card that is there:
https://docs.nvidia.com/cuda/parallel-thread-execution/.
"""

from typing import Final

NAME: Final = b"not_finite"
# Threads of a block, and blocks, which together go through an array of any length.
THREADS: Final = 256
MOST_BLOCKS: Final = 1024

# Sets the number at `flag` to 1 where one of `count` float32 from `values` on has an exponent of ones: NaN or infinity.
PTX: Final = b"""
.version 6.0
.target sm_50
.address_size 64

.visible .entry not_finite(.param .u64 values, .param .u64 count, .param .u64 flag)
{
    .reg .pred %past, %fine;
    .reg .b32 %block, %blocks, %threads, %thread, %bits, %one;
    .reg .b64 %values, %count, %flag, %index, %step, %first, %address;

    ld.param.u64 %values, [values];
    ld.param.u64 %count, [count];
    ld.param.u64 %flag, [flag];
    cvta.to.global.u64 %values, %values;
    cvta.to.global.u64 %flag, %flag;
    mov.u32 %block, %ctaid.x;
    mov.u32 %blocks, %nctaid.x;
    mov.u32 %threads, %ntid.x;
    mov.u32 %thread, %tid.x;
    mul.wide.u32 %index, %block, %threads;
    cvt.u64.u32 %first, %thread;
    add.u64 %index, %index, %first;
    mul.wide.u32 %step, %blocks, %threads;
again:
    setp.ge.u64 %past, %index, %count;
    @%past bra done;
    shl.b64 %address, %index, 2;
    add.u64 %address, %values, %address;
    ld.global.u32 %bits, [%address];
    and.b32 %bits, %bits, 0x7f800000;
    setp.ne.u32 %fine, %bits, 0x7f800000;
    @%fine bra next;
    mov.u32 %one, 1;
    st.global.u32 [%flag], %one;
next:
    add.u64 %index, %index, %step;
    bra again;
done:
    ret;
}
"""
