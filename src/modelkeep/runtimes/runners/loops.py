"""The loops of the compiled runner, in LLVM's own language: small, and the same for every model.

``walk`` sends one row after the other down every tree. ``bits`` answers as many rows at once as the processor compares
in one instruction: each node that a row does not pass strikes out leaves (QuickScorer, Lucchese et al. 2015). Where
every tree adds one number to one sum, and no number is missing in the whole table, it takes rows by sixteen and asks a
node nothing but whether they pass. All add up in the order of the trees.
"""

LANES = 8
"""Rows that ``bits`` takes at once at least; callers fill up."""

_WALK = """
define void @walk_{name}(ptr %nodes, ptr %roots, i64 %trees, ptr %rows, i64 %count, i64 %width, ptr %values, i64 %span,
                         i64 %outputs, ptr %out) {{
entry:
  %vector = icmp ugt i64 %span, 1
  br label %tree
tree:
  %t = phi i64 [0, %entry], [%t1, %ended]
  %column = phi i64 [0, %entry], [%column2, %ended]
  %rootp = getelementptr i32, ptr %roots, i64 %t
  %root = load i32, ptr %rootp
  br label %row
row:
  %r = phi i64 [0, %tree], [%r1, %added]
  %from = mul i64 %r, %width
  %x = getelementptr double, ptr %rows, i64 %from
  %isleaf = icmp slt i32 %root, 0
  br i1 %isleaf, label %leaf, label %down
down:
  %n = phi i32 [%root, %row], [%next, %down]
  %n64 = sext i32 %n to i64
  %node = getelementptr {{double, i32, i32, i32, i32}}, ptr %nodes, i64 %n64
  %bound = load double, ptr %node
  %lp = getelementptr i8, ptr %node, i64 8
  %left = load i32, ptr %lp
  %rp = getelementptr i8, ptr %node, i64 12
  %right = load i32, ptr %rp
  %fp = getelementptr i8, ptr %node, i64 16
  %f = load i32, ptr %fp
  %mp = getelementptr i8, ptr %node, i64 20
  %m = load i32, ptr %mp
  %f64 = sext i32 %f to i64
  %vp = getelementptr double, ptr %x, i64 %f64
  %raw = load double, ptr %vp
  {round}
  %passes = fcmp ole double %v, %bound
  %nan = fcmp uno double %v, %v
  %gap = trunc i32 %m to i1
  %both = and i1 %nan, %gap
  %go = or i1 %passes, %both
  %next = select i1 %go, i32 %left, i32 %right
  %end = icmp slt i32 %next, 0
  br i1 %end, label %leaf, label %down
leaf:
  %last = phi i32 [%root, %row], [%next, %down]
  %place = xor i32 %last, -1
  %place64 = sext i32 %place to i64
  %at = mul i64 %place64, %span
  %value = getelementptr double, ptr %values, i64 %at
  %to = mul i64 %r, %outputs
  %to2 = add i64 %to, %column
  %sum = getelementptr double, ptr %out, i64 %to2
  br label %add
add:
  %k = phi i64 [0, %leaf], [%k1, %add]
  %ap = getelementptr double, ptr %value, i64 %k
  %a = load double, ptr %ap
  %bp = getelementptr double, ptr %sum, i64 %k
  %b = load double, ptr %bp
  {add}
  store double %c, ptr %bp
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, %span
  br i1 %more, label %add, label %added
added:
  %r1 = add i64 %r, 1
  %rest = icmp ult i64 %r1, %count
  br i1 %rest, label %row, label %ended
ended:
  %t1 = add i64 %t, 1
  %column1 = add i64 %column, 1
  %over = icmp uge i64 %column1, %outputs
  %back = or i1 %over, %vector
  %column2 = select i1 %back, i64 0, i64 %column1
  %again = icmp ult i64 %t1, %trees
  br i1 %again, label %tree, label %done
done:
  ret void
}}
"""

_CAREFUL = """
define internal void @careful_{name}(ptr %nodes, ptr %firsts, i64 %trees, ptr %table, i64 %count, ptr %starts,
                                     ptr %values, i64 %span, i64 %outputs, ptr %out) {{
entry:
  %vector = icmp ugt i64 %span, 1
  %scratch = alloca [{n} x i64], align 64
  br label %block
block:
  %r = phi i64 [0, %entry], [%r1, %blockend]
  br label %tree
tree:
  %t = phi i64 [0, %block], [%t1, %ended]
  %column = phi i64 [0, %block], [%column2, %ended]
  %fp = getelementptr i64, ptr %firsts, i64 %t
  %first = load i64, ptr %fp
  %ep = getelementptr i64, ptr %fp, i64 1
  %end = load i64, ptr %ep
  br label %node
node:
  %i = phi i64 [%first, %tree], [%i1, %node]
  %alive = phi <{n} x i64> [{ones}, %tree], [%alive1, %node]
  %at = getelementptr {{double, i64, i32, i32}}, ptr %nodes, i64 %i
  %bound = load double, ptr %at
  %mp = getelementptr i8, ptr %at, i64 8
  %mask = load i64, ptr %mp
  %np = getelementptr i8, ptr %at, i64 16
  %f = load i32, ptr %np
  %gp = getelementptr i8, ptr %at, i64 20
  %g = load i32, ptr %gp
  %f64 = sext i32 %f to i64
  %line = mul i64 %f64, %count
  %cell = add i64 %line, %r
  %xp = getelementptr double, ptr %table, i64 %cell
  %x = load <{n} x double>, ptr %xp, align 8
  %b0 = insertelement <{n} x double> poison, double %bound, i32 0
  %bs = shufflevector <{n} x double> %b0, <{n} x double> poison, <{n} x i32> zeroinitializer
  %passes = fcmp ole <{n} x double> %x, %bs
  %nan = fcmp uno <{n} x double> %x, %x
  %gap = trunc i32 %g to i1
  %g0 = insertelement <{n} x i1> poison, i1 %gap, i32 0
  %gs = shufflevector <{n} x i1> %g0, <{n} x i1> poison, <{n} x i32> zeroinitializer
  %both = and <{n} x i1> %nan, %gs
  %go = or <{n} x i1> %passes, %both
  %m0 = insertelement <{n} x i64> poison, i64 %mask, i32 0
  %ms = shufflevector <{n} x i64> %m0, <{n} x i64> poison, <{n} x i32> zeroinitializer
  %left = select <{n} x i1> %go, <{n} x i64> {ones}, <{n} x i64> %ms
  %alive1 = and <{n} x i64> %alive, %left
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %end
  br i1 %more, label %node, label %leaf
leaf:
  %low = call <{n} x i64> @llvm.cttz.v{n}i64(<{n} x i64> %alive1, i1 true)
  store <{n} x i64> %low, ptr %scratch, align 64
  %sp = getelementptr i32, ptr %starts, i64 %t
  %start = load i32, ptr %sp
  %start64 = sext i32 %start to i64
  br label %lane
lane:
  %l = phi i64 [0, %leaf], [%l1, %laneend]
  %lp = getelementptr i64, ptr %scratch, i64 %l
  %own = load i64, ptr %lp
  %place = add i64 %own, %start64
  %vat = mul i64 %place, %span
  %value = getelementptr double, ptr %values, i64 %vat
  %which = add i64 %r, %l
  %to = mul i64 %which, %outputs
  %to2 = add i64 %to, %column
  %sum = getelementptr double, ptr %out, i64 %to2
  br label %add
add:
  %k = phi i64 [0, %lane], [%k1, %add]
  %ap = getelementptr double, ptr %value, i64 %k
  %a = load double, ptr %ap
  %bp = getelementptr double, ptr %sum, i64 %k
  %b = load double, ptr %bp
  {add}
  store double %c, ptr %bp
  %k1 = add i64 %k, 1
  %still = icmp ult i64 %k1, %span
  br i1 %still, label %add, label %laneend
laneend:
  %l1 = add i64 %l, 1
  %lanes = icmp ult i64 %l1, {n}
  br i1 %lanes, label %lane, label %ended
ended:
  %t1 = add i64 %t, 1
  %column1 = add i64 %column, 1
  %over = icmp uge i64 %column1, %outputs
  %back = or i1 %over, %vector
  %column2 = select i1 %back, i64 0, i64 %column1
  %again = icmp ult i64 %t1, %trees
  br i1 %again, label %tree, label %blockend
blockend:
  %r1 = add i64 %r, {n}
  %rest = icmp ult i64 %r1, %count
  br i1 %rest, label %block, label %done
done:
  ret void
}}
"""
_QUICK = """
define internal void @quick_{name}_{n}(ptr %nodes, ptr %firsts, i64 %trees, ptr %table, i64 %count, ptr %starts,
                                       ptr %values, ptr %out, i64 %r) noinline {{
entry:
  %scratch = alloca [{n} x i64], align 64
  %columns = getelementptr double, ptr %table, i64 %r
  %sums = getelementptr double, ptr %out, i64 %r
  br label %tree
tree:
  %t = phi i64 [0, %entry], [%t1, %ended]
  %fp = getelementptr i64, ptr %firsts, i64 %t
  %first = load i64, ptr %fp
  %ep = getelementptr i64, ptr %fp, i64 1
  %end = load i64, ptr %ep
  br label %node
node:
  %i = phi i64 [%first, %tree], [%i1, %node]
  %alive = phi <{n} x i64> [{ones}, %tree], [%alive1, %node]
  %at = getelementptr {{double, i64, i32, i32}}, ptr %nodes, i64 %i
  %bound = load double, ptr %at
  %mp = getelementptr i8, ptr %at, i64 8
  %mask = load i64, ptr %mp
  %np = getelementptr i8, ptr %at, i64 16
  %f = load i32, ptr %np
  %f64 = sext i32 %f to i64
  %line = mul i64 %f64, %count
  %xp = getelementptr double, ptr %columns, i64 %line
  %x = load <{n} x double>, ptr %xp, align 8
  %b0 = insertelement <{n} x double> poison, double %bound, i32 0
  %bs = shufflevector <{n} x double> %b0, <{n} x double> poison, <{n} x i32> zeroinitializer
  %fails = fcmp ugt <{n} x double> %x, %bs
  %m0 = insertelement <{n} x i64> poison, i64 %mask, i32 0
  %ms = shufflevector <{n} x i64> %m0, <{n} x i64> poison, <{n} x i32> zeroinitializer
  %fewer = and <{n} x i64> %alive, %ms
  %alive1 = select <{n} x i1> %fails, <{n} x i64> %fewer, <{n} x i64> %alive
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %end
  br i1 %more, label %node, label %leaf
leaf:
  %low = call <{n} x i64> @llvm.cttz.v{n}i64(<{n} x i64> %alive1, i1 true)
  store <{n} x i64> %low, ptr %scratch, align 64
  %sp = getelementptr i32, ptr %starts, i64 %t
  %start = load i32, ptr %sp
  %start64 = sext i32 %start to i64
  %own = getelementptr double, ptr %values, i64 %start64
  br label %lane
lane:
  %l = phi i64 [0, %leaf], [%l1, %lane]
  %lp = getelementptr i64, ptr %scratch, i64 %l
  %place = load i64, ptr %lp
  %ap = getelementptr double, ptr %own, i64 %place
  %a = load double, ptr %ap
  %bp = getelementptr double, ptr %sums, i64 %l
  %b = load double, ptr %bp
  {add}
  store double %c, ptr %bp
  %l1 = add i64 %l, 1
  %lanes = icmp ult i64 %l1, {n}
  br i1 %lanes, label %lane, label %ended
ended:
  %t1 = add i64 %t, 1
  %again = icmp ult i64 %t1, %trees
  br i1 %again, label %tree, label %done
done:
  ret void
}}
"""

_BITS = """
define void @bits_{name}(ptr %nodes, ptr %firsts, i64 %trees, ptr %table, i64 %count, ptr %starts, ptr %values,
                         i64 %span, i64 %outputs, ptr %out, i64 %cells) {{
entry:
  %one = icmp eq i64 %span, 1
  %alone = icmp eq i64 %outputs, 1
  %simple = and i1 %one, %alone
  br i1 %simple, label %look, label %careful
look:
  %c = phi i64 [0, %entry], [%c1, %look]
  %lacking = phi <{n} x i1> [zeroinitializer, %entry], [%lacking1, %look]
  %xp = getelementptr double, ptr %table, i64 %c
  %x = load <{n} x double>, ptr %xp, align 8
  %nan = fcmp uno <{n} x double> %x, %x
  %lacking1 = or <{n} x i1> %lacking, %nan
  %c1 = add i64 %c, {n}
  %further = icmp ult i64 %c1, %cells
  br i1 %further, label %look, label %seen
seen:
  %any = call i1 @llvm.vector.reduce.or.v{n}i1(<{n} x i1> %lacking1)
  br i1 %any, label %careful, label %block
block:
  %r = phi i64 [0, %seen], [%r2, %two], [%r1, %single]
  %left = sub i64 %count, %r
  %both = icmp uge i64 %left, {twice}
  br i1 %both, label %two, label %rest
two:
  call void @quick_{name}_{twice}(ptr %nodes, ptr %firsts, i64 %trees, ptr %table, i64 %count, ptr %starts,
                                  ptr %values, ptr %out, i64 %r)
  %r2 = add i64 %r, {twice}
  br label %block
rest:
  %none = icmp eq i64 %left, 0
  br i1 %none, label %done, label %single
single:
  call void @quick_{name}_{n}(ptr %nodes, ptr %firsts, i64 %trees, ptr %table, i64 %count, ptr %starts, ptr %values,
                              ptr %out, i64 %r)
  %r1 = add i64 %r, {n}
  br label %block
careful:
  call void @careful_{name}(ptr %nodes, ptr %firsts, i64 %trees, ptr %table, i64 %count, ptr %starts, ptr %values,
                            i64 %span, i64 %outputs, ptr %out)
  br label %done
done:
  ret void
}}
"""
_ROUND = "%short = fptrunc double %raw to float\n  %v = fpext float %short to double"
_PLAIN = "%v = fadd double %raw, -0.0"
_ADD = "%c = fadd double %a, %b"
# The sum of two numbers of 32 bits, rounded from 64, is the one that 32 bits would have given.
_ADD_SHORT = "%c0 = fadd double %a, %b\n  %c1 = fptrunc double %c0 to float\n  %c = fpext float %c1 to double"

WALKS = {"double": (_PLAIN, _ADD), "single": (_ROUND, _ADD), "short": (_ROUND, _ADD_SHORT)}
"""How ``walk`` reads a number and adds a leaf: as they are, rounded to 32 bits, and sums rounded as well."""
BITS = {"double": _ADD, "short": _ADD_SHORT}
"""How ``bits`` adds a leaf; it gets its numbers as they are to be compared."""


def text() -> str:
    """All loops: ``walk_double``, ``walk_single``, ``walk_short``, ``bits_double`` and ``bits_short``."""
    walks = [_WALK.format(name=name, round=read, add=add) for name, (read, add) in WALKS.items()]
    bits = [
        made
        for name, add in BITS.items()
        for made in (
            _CAREFUL.format(name=name, n=LANES, ones=_ones(LANES), add=add),
            *(_QUICK.format(name=name, n=n, ones=_ones(n), add=add) for n in (LANES, 2 * LANES)),
            _BITS.format(name=name, n=LANES, twice=2 * LANES),
        )
    ]
    declared = [f"declare <{n} x i64> @llvm.cttz.v{n}i64(<{n} x i64>, i1)\n" for n in (LANES, 2 * LANES)]
    declared += [f"declare i1 @llvm.vector.reduce.or.v{LANES}i1(<{LANES} x i1>)\n"]
    return "".join([*declared, *walks, *bits])


def _ones(n: int) -> str:
    return f"<{', '.join(['i64 -1'] * n)}>"
