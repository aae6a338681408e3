-- LATE and pull among several Byzantine peers: can a phase end for nobody, without evidence?
--
-- One phase. Honest peers hold each other's messages; each of the B Byzantine peers sends its one message to whom it
-- likes, when it likes, or never. No time: messages take as long as they like, and a time-out may come whenever
-- something is missing. Who holds all messages moves on, and its message of the next phase makes the others pull.

const
  H: 3;                        -- honest peers
  B: 2;                        -- Byzantine peers

  -- Rules that can be switched off, one at a time:
  PULLED: true;                -- AGR-5: pull on a message of the phase after
  LATE_ANSWERED: true;         -- AGR-8: who holds what a LATE names forwards it
  LATE_ANSWERED_LATER: true;   -- AGR-8: also when it comes only after the LATE
  QUORUM_IS_EVIDENCE: true;    -- AGR-9: q LATEs on one slot remove

  QUORUM: (H + B) / 2 + 1;

type
  honest: scalarset(H);
  byz: scalarset(B);
  step: 0..2;                  -- of a message: 0 not sent, 1 under way, 2 here

var
  has: array[honest] of array[byz] of boolean;
  moved: array[honest] of boolean;
  next: array[honest] of array[honest] of step;                -- message of the next phase: from, to
  late: array[honest] of array[byz] of boolean;                -- said LATE
  lates: array[honest] of array[honest] of array[byz] of step; -- LATE: from, to
  forward: array[honest] of array[honest] of array[byz] of step;
  frozen: boolean;             -- an honest peer holds evidence; what then, settle.m says

procedure send(o: honest; h: honest; b: byz);
begin
  if has[o][b] & !has[h][b] & forward[o][h][b] = 0 then forward[o][h][b] := 1; endif;
end;

procedure get(h: honest; b: byz);
begin
  if !has[h][b] then
    has[h][b] := true;
    late[h][b] := false;
    for o: honest do
      forward[o][h][b] := 0;
      lates[h][o][b] := 0;         -- counts for nothing any more: evidence only comes harder
      if o != h & lates[o][h][b] = 2 & LATE_ANSWERED & LATE_ANSWERED_LATER then send(h, o, b); endif;
    endfor;
    if forall x: byz do has[h][x] endforall then
      moved[h] := true;
      for o: honest do
        next[o][h] := 0;
        if o != h & !moved[o] then next[h][o] := 1; endif;
      endfor;
    endif;
  endif;
end;

function quiet(): boolean;
begin
  return forall h: honest do
    (moved[h] | forall b: byz do has[h][b] | late[h][b] endforall)
    & forall o: honest do next[h][o] != 1 & forall b: byz do lates[h][o][b] != 1 & forward[h][o][b] != 1 endforall endforall
  endforall;
end;

startstate begin
  frozen := false;
  for h: honest do
    moved[h] := false;
    for b: byz do has[h][b] := false; late[h][b] := false; endfor;
    for o: honest do
      next[h][o] := 0;
      for b: byz do lates[h][o][b] := 0; forward[h][o][b] := 0; endfor;
    endfor;
  endfor;
end;

ruleset h: honest do
  rule "time-out"
    !frozen & !moved[h] & !exists b: byz do late[h][b] endexists
  ==>
    for b: byz do
      if !has[h][b] then
        late[h][b] := true;
        for o: honest do if o != h then lates[h][o][b] := 1; endif; endfor;
      endif;
    endfor;
  endrule;

  ruleset b: byz do
    rule "Byzantine message"
      !frozen & !has[h][b]
    ==>
      get(h, b);
    endrule;
  endruleset;

  ruleset o: honest do
    rule "deliver a message of the next phase"
      !frozen & next[o][h] = 1
    ==>
      next[o][h] := 2;
      if PULLED then for b: byz do send(o, h, b); endfor; endif;
    endrule;

    ruleset b: byz do
      rule "deliver LATE"
        !frozen & lates[o][h][b] = 1
      ==>
        var n: 0..H;
      begin
        lates[o][h][b] := 2;
        if LATE_ANSWERED then send(h, o, b); endif;
        n := late[h][b] ? 1 : 0;
        for x: honest do if lates[x][h][b] = 2 then n := n + 1; endif; endfor;
        if n >= QUORUM & QUORUM_IS_EVIDENCE then frozen := true; endif;
      endrule;

      rule "deliver what was asked for"
        !frozen & forward[o][h][b] = 1
      ==>
        forward[o][h][b] := 2;
        get(h, b);
      endrule;
    endruleset;
  endruleset;
endruleset;

invariant "nobody waits for what cannot come"
  quiet() & !frozen -> forall h: honest do moved[h] endforall;
