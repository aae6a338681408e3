-- SETTLE and ratification: chains, rounds, outcome, EPOCH signatures, over EPOCHS epochs in a row.
--
-- H honest and B Byzantine peers. Of the phases of a step only ACCUSE is here: honest peers say `ok`, and
-- who holds all `ok`s has the step's certificate (the phases before it: phases.m). Time is in ticks of
-- delta. What an honest peer sends reaches each other honest peer in the same tick or the next; timers fire
-- at the end of their tick. Byzantine peers send anything that they can sign, to anybody, at any time, and
-- hold every honest signature as soon as it exists; evidence against them exists from the start.

const
  H: 2;                        -- honest peers
  B: 1;                        -- Byzantine peers
  EPOCHS: 2;                   -- epochs that may end; in the one after them nothing happens
  APPLY: 1;                    -- ticks that applying a step takes at most
  BANS: true;                  -- classes ban(b) as well as guilty(b)
  ANY_LENGTH: true;            -- Byzantine chains of any length that is in time, not the shortest alone
  STEPS: true;                 -- a step may be certified in each epoch
  LAST_STEPS: true;            -- also in the last of these epochs

  -- Rules that can be switched off, one at a time:
  CERTIFICATE_IS_INPUT: true;  -- AGR-12: a peer that freezes signs commit for its certificate
  LENGTH_IN_TIME: true;        -- AGR-13: k signatures count until 2k delta only
  ENOUGH_ROUNDS: true;         -- AGR-14: f + 1 rounds; without it f
  OUTCOME_IS_APPLIED: true;    -- AGR-14: the outcome's step is applied where it was not
  ROOM_TO_APPLY: true;         -- AGR-14: the outcome waits until everybody can have applied it
  SIGNATURES_SENT_ON: true;    -- AGR-15: whoever enters sends its q signatures to all
  BAN_IS_A_CLASS: true;        -- AGR-12: ban(b) is agreed on; without it each peer's own object decides
  CHAIN_FREEZES: true;         -- AGR-17: a guilty chain freezes who has not frozen
  COMMIT_WAITS: true;          -- AGR-17: a commit chain before the freeze is kept
  OLD_EVIDENCE_FREEZES: true;  -- AGR-16: evidence that came too late freezes the next epoch
  NEXT_EPOCH_KEPT: true;       -- AGR-4: chains of the next epoch are kept

  N: H + B;
  FMAX: (N - 1) / 2;
  ELMAX: 2 * (FMAX + 1) + APPLY;
  COMMIT: 0;                   -- class numbers: commit; guilty(b) is b; ban(b) is B + b

type
  honest: scalarset(H);
  byz: 1..B;
  class: 0..2*B;
  epoch: 0..EPOCHS-1;
  flight: 0..3;                -- 0 nothing, 1 sent in this tick, 2 due in this tick, 3 arrived and kept
  kind: 0..2;                  -- of evidence: 0 none, 1 removes, 2 bans
  mode: enum { RUN, SETTLE, RATIFY };

var
  ep: array[honest] of 0..EPOCHS;
  mo: array[honest] of mode;
  el: array[honest] of 0..ELMAX;                        -- ticks since the freeze
  member: array[honest] of array[byz] of boolean;       -- the roster of the peer's epoch
  ev: array[honest] of array[byz] of kind;              -- evidence found while settling
  applying: array[honest] of boolean;
  applied: array[honest] of 0..EPOCHS;                  -- steps
  behind: 0..2;                                         -- ticks since honest peers are in different epochs
  certified: array[honest] of boolean;                  -- this epoch's step, by its certificate

  -- By epoch; emptied when all honest peers have left it.
  ok_sent: array[epoch] of array[honest] of boolean;
  sigs: array[epoch] of array[honest] of array[class] of 0..N;     -- signatures in the own chain; 0: not accepted
  bans_by: array[epoch] of array[honest] of array[byz] of boolean; -- object in the own guilty chain bans
  chain: array[epoch] of array[honest] of array[honest] of array[class] of flight;
  by_commit: array[epoch] of array[honest] of boolean;             -- applied in this epoch by certificate
  signed: array[epoch] of array[honest] of boolean;                -- own EPOCH rec
  out_guilty: array[epoch] of array[honest] of array[byz] of boolean;
  out_ban: array[epoch] of array[honest] of array[byz] of boolean;
  out_step: array[epoch] of array[honest] of 0..EPOCHS;
  holds: array[epoch] of array[honest] of array[honest] of boolean;   -- honest EPOCH signatures held
  holds_byz: array[epoch] of array[honest] of array[byz] of boolean;
  rec: array[epoch] of array[honest] of array[honest] of flight;
  sent_on: array[epoch] of array[honest] of array[honest] of flight;

function members(h: honest): 0..N;
var n: 0..N;
begin
  n := H;
  for b: byz do if member[h][b] then n := n + 1; endif; endfor;
  return n;
end;

function rounds(h: honest): 0..N;
begin
  if ENOUGH_ROUNDS then return (members(h) - 1) / 2 + 1; endif;
  return (members(h) - 1) / 2;
end;

function in_time(h: honest; k: 0..N): boolean;
begin
  if el[h] > 2 * rounds(h) then return false; endif;
  if !LENGTH_IN_TIME then return true; endif;
  return el[h] <= 2 * k;
end;

function is_member(h: honest; c: class): boolean;
begin
  if c = COMMIT then return true; endif;
  if c <= B then return member[h][c]; endif;
  return member[h][c - B];
end;

procedure accept(h: honest; c: class; k: 0..N; bans: boolean);
begin
  if ep[h] < EPOCHS then
    if sigs[ep[h]][h][c] = 0 then
      sigs[ep[h]][h][c] := k + 1;
      if c != COMMIT & c <= B then bans_by[ep[h]][h][c] := bans; endif;
      if c != COMMIT then
        if c <= B then ev[h][c] := 0; else ev[h][c - B] := 0; endif;
      endif;
      for o: honest do
        if o != h & ep[o] <= ep[h] & sigs[ep[h]][o][c] = 0 then chain[ep[h]][h][o][c] := 1; endif;
        chain[ep[h]][o][h][c] := 0;  -- whatever comes of this class now is known
      endfor;
    endif;
  endif;
end;

procedure accept_evidence(h: honest; b: byz; k: kind);
begin
  accept(h, b, 0, k = 2);
  if k = 2 & BANS & BAN_IS_A_CLASS then accept(h, B + b, 0, true); endif;
end;

procedure freeze(h: honest);
begin
  mo[h] := SETTLE;
  el[h] := 0;
  if certified[h] & CERTIFICATE_IS_INPUT then accept(h, COMMIT, 0, false); endif;
end;

procedure after_freeze(h: honest);
begin
  for o: honest do
    if chain[ep[h]][o][h][COMMIT] = 3 then accept(h, COMMIT, sigs[ep[h]][o][COMMIT], false); endif;
    chain[ep[h]][o][h][COMMIT] := chain[ep[h]][o][h][COMMIT] = 3 ? 0 : chain[ep[h]][o][h][COMMIT];
  endfor;
end;

-- A chain of the peer's own epoch: of class c, with k signatures and, for guilty(b), an object that bans or not.
-- k = 0: evidence without a chain.
procedure receive(h: honest; c: class; k: 0..N; bans: boolean);
var b: byz;
begin
  if sigs[ep[h]][h][c] = 0 & is_member(h, c) then
    if c = COMMIT then
      if mo[h] = SETTLE & in_time(h, k) then accept(h, c, k, false); endif;
    else
      b := c <= B ? c : c - B;
      if mo[h] = RUN then
        if CHAIN_FREEZES | k = 0 then
          freeze(h);
          if k > 0 then accept(h, c, k, bans); endif;
          accept_evidence(h, b, bans ? 2 : 1);
          after_freeze(h);
        endif;
      else
        if sigs[ep[h]][h][b] = 0 & sigs[ep[h]][h][B + b] = 0 & ev[h][b] = 0 then ev[h][b] := bans ? 2 : 1; endif;
        if mo[h] = SETTLE & k > 0 & in_time(h, k) then accept(h, c, k, bans); endif;
      endif;
    endif;
  endif;
end;

procedure deliver_chain(e: epoch; o: honest; h: honest; c: class);
begin
  if ep[h] > e then chain[e][o][h][c] := 0;
  elsif ep[h] < e then chain[e][o][h][c] := NEXT_EPOCH_KEPT ? 3 : 0;
  elsif c = COMMIT & mo[h] = RUN & !certified[h] then chain[e][o][h][c] := COMMIT_WAITS ? 3 : 0;
  else
    chain[e][o][h][c] := 0;
    receive(h, c, sigs[e][o][c], c > B | (c != COMMIT & bans_by[e][o][c]));
  endif;
end;

procedure forget(e: epoch);
begin
  for h: honest do
    ok_sent[e][h] := false;
    by_commit[e][h] := false;
    signed[e][h] := false;
    out_step[e][h] := 0;
    for c: class do sigs[e][h][c] := 0; endfor;
    for b: byz do
      bans_by[e][h][b] := false;
      out_guilty[e][h][b] := false;
      out_ban[e][h][b] := false;
      holds_byz[e][h][b] := false;
    endfor;
    for o: honest do
      holds[e][h][o] := false;
      rec[e][h][o] := 0;
      sent_on[e][h][o] := 0;
      for c: class do chain[e][h][o][c] := 0; endfor;
    endfor;
  endfor;
end;

procedure enter(h: honest);
var count: 0..N; e: epoch; found: boolean;
begin
  if mo[h] = RATIFY then
    e := ep[h];
    count := 0;
    for o: honest do if holds[e][h][o] then count := count + 1; endif; endfor;
    for b: byz do if holds_byz[e][h][b] then count := count + 1; endif; endfor;
    if count >= members(h) / 2 + 1 then
      if SIGNATURES_SENT_ON then
        for o: honest do if ep[o] = e & o != h then sent_on[e][h][o] := 1; endif; endfor;
      endif;
      for o: honest do
        rec[e][o][h] := 0;
        sent_on[e][o][h] := 0;
        for c: class do chain[e][o][h][c] := 0; endfor;
      endfor;
      for b: byz do
        if out_guilty[e][h][b] then member[h][b] := false; ev[h][b] := 0; endif;
      endfor;
      mo[h] := RUN;
      el[h] := 0;
      certified[h] := false;
      ep[h] := ep[h] + 1;
      if forall o: honest do ep[o] > e endforall then forget(e); behind := 0; endif;
      if ep[h] < EPOCHS then
        found := false;
        for b: byz do
          if ev[h][b] != 0 & OLD_EVIDENCE_FREEZES then
            if !found then freeze(h); found := true; endif;
            accept_evidence(h, b, ev[h][b]);
          endif;
        endfor;
        for o: honest do
          for c: class do
            if chain[ep[h]][o][h][c] = 3 then deliver_chain(ep[h], o, h, c); endif;
          endfor;
        endfor;
      else
        for b: byz do ev[h][b] := 0; endfor;
      endif;
    endif;
  endif;
end;

procedure ratify(h: honest);
var e: epoch;
begin
  e := ep[h];
  mo[h] := RATIFY;
  el[h] := 0;
  signed[e][h] := true;
  out_step[e][h] := applied[h];
  for b: byz do
    out_guilty[e][h][b] := sigs[e][h][b] > 0 | sigs[e][h][B + b] > 0;
    out_ban[e][h][b] := BANS & (BAN_IS_A_CLASS ? sigs[e][h][B + b] > 0 : sigs[e][h][b] > 0 & bans_by[e][h][b]);
  endfor;
  holds[e][h][h] := true;
  for o: honest do if o != h & ep[o] = e then rec[e][h][o] := 1; endif; endfor;
end;

function timely(): boolean;  -- nothing is overdue
begin
  return forall e: epoch do forall h: honest do forall o: honest do
    rec[e][h][o] != 2 & sent_on[e][h][o] != 2
    & forall c: class do chain[e][h][o][c] != 2 endforall
  endforall endforall endforall
  & forall h: honest do !(applying[h] & el[h] = 2 * rounds(h) + APPLY) endforall;
end;

function quiet(): boolean;
begin
  return forall h: honest do mo[h] != SETTLE endforall
  & forall e: epoch do forall h: honest do forall o: honest do
    (rec[e][h][o] = 0 | rec[e][h][o] = 3) & (sent_on[e][h][o] = 0)
    & forall c: class do chain[e][h][o][c] = 0 | chain[e][h][o][c] = 3 endforall
  endforall endforall endforall;
end;

startstate begin
  behind := 0;
  for h: honest do
    ep[h] := 0;
    mo[h] := RUN;
    el[h] := 0;
    applying[h] := false;
    applied[h] := 0;
    certified[h] := false;
    for b: byz do member[h][b] := true; ev[h][b] := 0; endfor;
  endfor;
  for e: epoch do forget(e); endfor;
end;

-- Honest peers --------------------------------------------------------------------------------------------

ruleset h: honest do
  rule "ok"
    mo[h] = RUN & ep[h] < EPOCHS & STEPS & (LAST_STEPS | ep[h] < EPOCHS - 1) & !ok_sent[ep[h]][h]
  ==>
    ok_sent[ep[h]][h] := true;
  endrule;

  rule "certificate"  -- when the others' `ok`s arrive is up to the Byzantine peers, who may withhold theirs
    mo[h] = RUN & ep[h] < EPOCHS & !certified[h] & forall o: honest do ok_sent[ep[h]][o] endforall
  ==>
    certified[h] := true;
    by_commit[ep[h]][h] := true;
    applied[h] := applied[h] + 1;
  endrule;

  rule "applied"
    applying[h]
  ==>
    applying[h] := false;
    applied[h] := applied[h] + 1;
    if !ROOM_TO_APPLY then ratify(h); enter(h); endif;
  endrule;

  ruleset o: honest; e: epoch do
    rule "deliver EPOCH"
      rec[e][o][h] = 1 | rec[e][o][h] = 2
    ==>
      rec[e][o][h] := 0;
      if ep[h] = e then holds[e][h][o] := true; enter(h); endif;
    endrule;

    rule "deliver EPOCH signatures sent on"
      sent_on[e][o][h] = 1 | sent_on[e][o][h] = 2
    ==>
      sent_on[e][o][h] := 0;
      if ep[h] = e then
        for x: honest do if holds[e][o][x] then holds[e][h][x] := true; endif; endfor;
        for b: byz do if holds_byz[e][o][b] then holds_byz[e][h][b] := true; endif; endfor;
        enter(h);
      endif;
    endrule;

    ruleset c: class do
      rule "deliver chain"
        chain[e][o][h][c] = 1 | chain[e][o][h][c] = 2
      ==>
        deliver_chain(e, o, h, c);
      endrule;
    endruleset;
  endruleset;
endruleset;

-- Byzantine peers -----------------------------------------------------------------------------------------

ruleset h: honest do
  ruleset c: class; k: 0..N; bans: boolean do
    rule "Byzantine chain"
      ep[h] < EPOCHS & sigs[ep[h]][h][c] = 0
      & (mo[h] = RUN | (k = 0 ? c != COMMIT & ev[h][c <= B ? c : c - B] = 0 : mo[h] = SETTLE & in_time(h, k)))
      & (ANY_LENGTH | k = 0 | (mo[h] = SETTLE & 2 * (k - 1) < el[h]) | (k = 1 & mo[h] = SETTLE))
      & (BANS | (c <= B & !bans))
      & (c != COMMIT | (!bans & k > 0 & mo[h] = SETTLE & STEPS
                        & forall o: honest do ok_sent[ep[h]][o] endforall))
      & (c <= B | (bans & BAN_IS_A_CLASS))
      & is_member(h, c)
    ==>
      var most: 0..N;
    begin
      most := members(h) - H;
      for o: honest do if sigs[ep[h]][o][c] > 0 then most := most + 1; endif; endfor;
      if k <= most then receive(h, c, k, bans); endif;
    endrule;
  endruleset;

  ruleset b: byz do
    rule "Byzantine EPOCH signature"
      (mo[h] = RATIFY | (mo[h] = SETTLE & el[h] >= 2 * rounds(h))) & member[h][b] & !holds_byz[ep[h]][h][b]
    ==>
      holds_byz[ep[h]][h][b] := true;
      enter(h);
    endrule;
  endruleset;
endruleset;

-- Time ----------------------------------------------------------------------------------------------------

rule "tick"
  timely() & !quiet()
==>
begin
  for h: honest do
    if mo[h] = SETTLE then
      if el[h] = 2 * rounds(h) & sigs[ep[h]][h][COMMIT] > 0 & !certified[h] & OUTCOME_IS_APPLIED then
        applying[h] := true;
      endif;
      if el[h] >= 2 * rounds(h) + (ROOM_TO_APPLY ? APPLY : 0) & !applying[h] then ratify(h);
      else el[h] := el[h] + 1; endif;
    endif;
  endfor;
  for h: honest do enter(h); endfor;
  if forall h: honest do forall o: honest do ep[h] = ep[o] endforall endforall then behind := 0;
  elsif behind < 2 then behind := behind + 1; endif;
  for e: epoch do for h: honest do for o: honest do
    if rec[e][h][o] = 1 then rec[e][h][o] := 2; endif;
    if sent_on[e][h][o] = 1 then sent_on[e][h][o] := 2; endif;
    for c: class do if chain[e][h][o][c] = 1 then chain[e][h][o][c] := 2; endif; endfor;
  endfor; endfor; endfor;
endrule;

-- What must hold ------------------------------------------------------------------------------------------

invariant "honest peers ratify equal outcomes"
  forall e: epoch do forall h: honest do forall o: honest do
    signed[e][h] & signed[e][o] ->
      out_step[e][h] = out_step[e][o] & forall b: byz do
        out_guilty[e][h][b] = out_guilty[e][o][b] & out_ban[e][h][b] = out_ban[e][o][b] endforall
  endforall endforall endforall;

invariant "a step that one honest peer applied is in everybody's outcome"
  forall e: epoch do forall h: honest do forall o: honest do
    by_commit[e][h] & signed[e][o] -> sigs[e][o][COMMIT] > 0
  endforall endforall endforall;

invariant "honest peers enter an epoch within delta of each other"
  behind < 2 | forall h: honest do forall o: honest do ep[h] = ep[o] endforall endforall;

invariant "nobody waits for what cannot come"
  quiet() -> forall h: honest do forall o: honest do
    mo[h] = RUN & ep[h] = ep[o] & applied[h] - (certified[h] ? 1 : 0) = applied[o] - (certified[o] ? 1 : 0)
  endforall endforall;

invariant "evidence is not forgotten"
  quiet() -> forall h: honest do forall b: byz do ep[h] < EPOCHS & member[h][b] -> ev[h][b] = 0 endforall endforall;
