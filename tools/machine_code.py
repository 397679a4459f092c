"""Makes the machine code of the compiled runner's loops for each level of x86-64 processors, by llvmlite.

Usage: python tools/machine_code.py

Whoever changes ``modelkeep.runtimes.runners.loops`` runs it; a test sees when it was forgotten. A file holds the code,
its constants behind it, then as JSON where each loop begins and what it was made of, and the size of that in four
bytes. References from the code to its constants are relative, and resolved here: the code runs wherever it lies.
"""

import hashlib
import json
import struct

import llvmlite.binding as llvm

from modelkeep.runtimes.runners import kernel, loops

TRIPLE = "x86_64-unknown-linux-gnu"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_RELATIVE = {2, 4}
"""R_X86_64_PC32 and R_X86_64_PLT32: the distance from the place to what it names."""
_CODE, _RELOCATIONS, _ALLOCATED, _RUNS = 1, 4, 2, 4
_CALLED = 1 << 4 | 2
"""A symbol that is a function, and known outside the code."""


def emitted(cpu: str) -> bytes:
    """The loops as an object file."""
    target = llvm.Target.from_triple(TRIPLE)
    machine = target.create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="small")
    module = llvm.parse_assembly(loops.text())
    module.triple, module.data_layout = TRIPLE, str(machine.target_data)
    module.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def flat(data: bytes) -> bytes:
    """An object file as one piece of code that needs nothing else."""
    header = _HEADER.unpack_from(data)
    sections = [_SECTION.unpack_from(data, header[6] + i * header[11]) for i in range(header[12])]
    whole, places = bytearray(), {}
    for number in sorted(range(len(sections)), key=lambda i: not sections[i][2] & _RUNS):
        _, kind, flags, _, offset, size, _, _, align, _ = sections[number]
        if kind == _CODE and flags & _ALLOCATED and size:
            whole += bytes(-len(whole) % max(align, 64))
            places[number] = len(whole)
            whole += data[offset : offset + size]
    table = next(section for section in sections if section[1] == 2)
    names = sections[table[6]]
    symbols = [_SYMBOL.unpack_from(data, table[4] + i * _SYMBOL.size) for i in range(table[5] // _SYMBOL.size)]
    for section in (one for one in sections if one[1] == _RELOCATIONS and one[7] in places):
        for i in range(section[5] // _RELOCATION.size):
            at, info, addend = _RELOCATION.unpack_from(data, section[4] + i * _RELOCATION.size)
            symbol, kind = symbols[info >> 32], info & 0xFFFFFFFF
            if kind not in _RELATIVE or symbol[3] not in places:
                raise SystemExit(f"a reference of kind {kind} that cannot be resolved here")
            place = places[section[7]] + at
            struct.pack_into("<i", whole, place, places[symbol[3]] + symbol[4] + addend - place)
    offsets = {}
    for name, info, _, section, value, _ in symbols:
        if info == _CALLED and section in places:
            begin = names[4] + name
            offsets[data[begin : data.index(b"\0", begin)].decode()] = places[section] + value
    source = hashlib.sha256(loops.text().encode()).hexdigest()
    tail = json.dumps({"places": offsets, "source": source}, sort_keys=True).encode()
    return bytes(whole) + tail + struct.pack("<I", len(tail))


def main() -> None:
    """Write a file for each level."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    kernel.CODE.mkdir(exist_ok=True)
    for level in kernel.LEVELS:
        data = flat(emitted(level))
        (kernel.CODE / f"{level}.bin").write_bytes(data)
        print(f"{level}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
