-- Judging: one accusation, the votes on it, NOVERDICT, and what becomes evidence.
--
-- H honest and B Byzantine peers. Three of them are the parties of a claim: its accuser, the accused and,
-- where the claim is `validator`, the accused validator's target. Each party may be honest or Byzantine. Time is
-- in ticks of delta; what an honest peer sends reaches each other honest peer in the same tick or the next;
-- an object that a message names is held at most one tick after it; timers fire at the end of their tick.
-- Honest judges find nobody guilty who is honest (the thresholds of 40-aggregation.md); where two parties are
-- Byzantine, each honest judge may find either guilty.
-- Byzantine peers vote anything, to anybody, at any time, and say NOVERDICT likewise.

const
  H: 2;                         -- honest peers
  B: 1;                         -- Byzantine peers
  VALIDATOR: false;             -- the claim has a third party, the target
  ACCOMPLICE: false;            -- the third party is an accomplice whom a vote may name besides the culprit
  SKEW: 3;                      -- ticks between the first and the last honest peer to enter ACCUSE
  C: 1;                         -- ticks from holding a claim and its object to the vote, own checks included

  BYZ_VOTES: true;              -- Byzantine peers vote; without it they are silent but for NOVERDICT

  -- What a NOVERDICT removes; AGR-9:
  REMOVES_ACCUSER: true;
  REMOVES_ACCUSED: true;
  REMOVES_TARGET: false;

  -- Rules that can be switched off, one at a time:
  RELAYED: true;                -- VER-13, AGR-8: whoever gets an accusation passes it and its object on
  TIME_IS_ENOUGH: true;         -- TIM-6: without it T_judge is one tick short
  NOVERDICT_SAID: true;         -- VER-15: a judge without a verdict in time says so
  CULPRITS_COUNTED: true;       -- AGR-9: votes are counted for each named peer; without it equal votes only
  EVIDENCE_SENT: true;          -- AGR-12: who has a verdict sends it to all

  N: H + B;
  QUORUM: N / 2 + 1;
  T: SKEW + C + (TIME_IS_ENOUGH ? 2 : 1);

type
  honest: scalarset(H);
  party: 0..2;                  -- 0 accuser, 1 accused, 2 target or accomplice
  flight: 0..3;                 -- 0 nothing, 1 sent in this tick, 2 due in this tick, 3 arrived
  ballot: 0..4;                 -- 0 none, 1 + the guilty party, 4: accused and accomplice

var
  is_honest: array[party] of boolean;
  raised: boolean;              -- an honest accuser has said ACCUSE
  entered: array[honest] of boolean;
  since: 0..SKEW;               -- ticks since the first honest peer entered ACCUSE
  claim: array[honest] of flight;   -- 3: here before the peer has entered
  delivered: array[honest] of boolean;
  clock: array[honest] of 0..T+1;   -- ticks since the claim was delivered; T + 1 after the time-out
  judged: array[honest] of boolean;
  vote: array[honest] of ballot;
  votes: array[honest] of array[honest] of flight;         -- from, to
  byz_vote: array[honest] of ballot;    -- what the Byzantine peers, all alike, vote in this peer's sight
  doubt: array[honest] of boolean;      -- said NOVERDICT
  doubts: array[honest] of array[honest] of flight;
  byz_doubt: array[honest] of boolean;
  frozen: array[honest] of boolean;
  guilty: array[honest] of array[honest] of flight;

function names(v: ballot; p: party): boolean;
begin
  return v = p + 1 | (v = 4 & p > 0);
end;

function may_find(v: ballot): boolean;
begin
  if v = 4 then return ACCOMPLICE & !is_honest[1] & !is_honest[2]; endif;
  return !is_honest[v - 1] & (v < 3 | VALIDATOR);
end;

function doubted(p: party): boolean;
begin
  if p = 0 then return REMOVES_ACCUSER; endif;
  if p = 1 then return REMOVES_ACCUSED; endif;
  return VALIDATOR & REMOVES_TARGET;
end;

procedure freeze(h: honest);
begin
  if !frozen[h] then
    frozen[h] := true;
    clock[h] := 0;
    byz_vote[h] := 0;
    byz_doubt[h] := false;
    claim[h] := 0;
    for o: honest do
      guilty[o][h] := 0;
      votes[o][h] := 0;
      doubts[o][h] := 0;
      if o != h & !frozen[o] & EVIDENCE_SENT then guilty[h][o] := 1; endif;
    endfor;
  endif;
end;

procedure look(h: honest);      -- for a quorum
var n: 0..N; v: ballot;
begin
  if !frozen[h] & delivered[h] then
    for p: party do
      n := 0;
      for o: honest do
        if (o = h | votes[o][h] = 3) & names(vote[o], p) then n := n + 1; endif;
      endfor;
      if names(byz_vote[h], p) then n := n + B; endif;
      if n >= QUORUM & CULPRITS_COUNTED then freeze(h); endif;
    endfor;
    for v := 1 to 4 do
      n := 0;
      for o: honest do
        if (o = h | votes[o][h] = 3) & vote[o] = v then n := n + 1; endif;
      endfor;
      if byz_vote[h] = v then n := n + B; endif;
      if n >= QUORUM then freeze(h); endif;
    endfor;
    n := byz_doubt[h] ? B : 0;
    for o: honest do
      if (o = h | doubts[o][h] = 3) & doubt[o] then n := n + 1; endif;
    endfor;
    if n >= QUORUM then freeze(h); endif;
  endif;
end;

procedure deliver(h: honest);
begin
  claim[h] := 0;
  if !delivered[h] & !frozen[h] then
    delivered[h] := true;
    clock[h] := 0;
    for o: honest do
      if o != h & !delivered[o] & !frozen[o] & RELAYED & claim[o] = 0 then claim[o] := 1; endif;
    endfor;
    look(h);
  endif;
end;

function timely(): boolean;
begin
  return forall h: honest do
    !(claim[h] = 2) & (entered[h] | since < SKEW) & (!delivered[h] | judged[h] | frozen[h] | clock[h] < C)
    & forall o: honest do votes[h][o] != 2 & doubts[h][o] != 2 & guilty[h][o] != 2 endforall
  endforall;
end;

function quiet(): boolean;
begin
  return forall h: honest do
    entered[h] & claim[h] = 0 & (frozen[h] | !delivered[h] | clock[h] = T + 1)
    & forall o: honest do votes[h][o] % 3 = 0 & doubts[h][o] % 3 = 0 & guilty[h][o] % 3 = 0 endforall
  endforall;
end;

ruleset a: boolean; b: boolean; c: boolean do
  startstate begin
    is_honest[0] := a;
    is_honest[1] := b;
    is_honest[2] := c;
    -- What honest peers would not do: accuse each other, or more cheats than there are.
    if !VALIDATOR & a & b then is_honest[1] := false; endif;
    if VALIDATOR & a & b & c then is_honest[1] := false; endif;
    if !VALIDATOR & !ACCOMPLICE then is_honest[2] := true; endif;
    if B = 1 then
      if !a then is_honest[1] := true; endif;
      if !a | !is_honest[1] then is_honest[2] := true; endif;
    elsif B = 2 & !a & !b & (VALIDATOR | ACCOMPLICE) then
      is_honest[2] := true;
    endif;
    raised := false;
    since := 0;
    for h: honest do
      entered[h] := SKEW = 0; claim[h] := 0; delivered[h] := false; clock[h] := 0; judged[h] := false;
      vote[h] := 0; byz_vote[h] := 0; doubt[h] := false; byz_doubt[h] := false; frozen[h] := false;
      for o: honest do votes[h][o] := 0; doubts[h][o] := 0; guilty[h][o] := 0; endfor;
    endfor;
  end;
endruleset;

-- Honest peers --------------------------------------------------------------------------------------------

ruleset h: honest do
  rule "enter ACCUSE"
    !entered[h]
  ==>
    entered[h] := true;
    if claim[h] = 3 then claim[h] := 1; endif;  -- now it is asked for
  endrule;

  rule "accuse"
    is_honest[0] & !raised & entered[h] & !delivered[h] & !frozen[h]
  ==>
    raised := true;
    deliver(h);
    if !RELAYED then for o: honest do if o != h & !frozen[o] then claim[o] := 1; endif; endfor; endif;
  endrule;

  rule "hold claim and object"
    claim[h] = 1 | claim[h] = 2
  ==>
    if entered[h] then deliver(h); else claim[h] := 3; endif;
  endrule;

  ruleset v: 1..4 do
    rule "judge"
      delivered[h] & !judged[h] & !frozen[h]
      & may_find(v)
    ==>
      judged[h] := true;
      vote[h] := v;
      for o: honest do if o != h & !frozen[o] then votes[h][o] := 1; endif; endfor;
      look(h);
    endrule;
  endruleset;

  ruleset o: honest do
    rule "deliver vote"
      votes[o][h] = 1 | votes[o][h] = 2
    ==>
      votes[o][h] := 3;
      look(h);
    endrule;

    rule "deliver NOVERDICT"
      doubts[o][h] = 1 | doubts[o][h] = 2
    ==>
      doubts[o][h] := 3;
      look(h);
    endrule;

    rule "deliver guilty"
      guilty[o][h] = 1 | guilty[o][h] = 2
    ==>
      guilty[o][h] := 0;
      freeze(h);
    endrule;
  endruleset;
endruleset;

-- Byzantine peers -----------------------------------------------------------------------------------------

ruleset h: honest do
  rule "Byzantine claim"
    !is_honest[0] & entered[h] & !delivered[h] & !frozen[h]
  ==>
    deliver(h);
  endrule;

  ruleset v: 1..4 do
    rule "Byzantine vote"
      BYZ_VOTES & !frozen[h] & delivered[h] & byz_vote[h] = 0 & (v < 3 | (v = 3 & VALIDATOR) | (v = 4 & ACCOMPLICE))
    ==>
      byz_vote[h] := v;
      look(h);
    endrule;
  endruleset;

  rule "Byzantine NOVERDICT"
    !frozen[h] & delivered[h] & !byz_doubt[h] & exists o: honest do doubt[o] endexists
  ==>
    byz_doubt[h] := true;
    look(h);
  endrule;
endruleset;

-- Time ----------------------------------------------------------------------------------------------------

rule "tick"
  timely() & !quiet() & exists h: honest do entered[h] endexists
==>
begin
  for h: honest do
    if delivered[h] & !frozen[h] then
      if clock[h] = T & NOVERDICT_SAID then
        doubt[h] := true;
        for o: honest do if o != h & !frozen[o] then doubts[h][o] := 1; endif; endfor;
      endif;
      if clock[h] <= T then clock[h] := clock[h] + 1; endif;
    endif;
  endfor;
  for h: honest do look(h); endfor;
  if since < SKEW then since := since + 1; endif;
  for h: honest do
    if claim[h] = 1 then claim[h] := 2; endif;
    for o: honest do
      if votes[h][o] = 1 then votes[h][o] := 2; endif;
      if doubts[h][o] = 1 then doubts[h][o] := 2; endif;
      if guilty[h][o] = 1 then guilty[h][o] := 2; endif;
    endfor;
  endfor;
endrule;

-- What must hold ------------------------------------------------------------------------------------------

function signers(p: party): 0..N;   -- honest votes that name a party
var n: 0..N;
begin
  n := 0;
  for h: honest do if names(vote[h], p) then n := n + 1; endif; endfor;
  return n;
end;

function doubters(): 0..N;
var n: 0..N;
begin
  n := 0;
  for h: honest do if doubt[h] then n := n + 1; endif; endfor;
  return n;
end;

invariant "no verdict can be made against an honest peer"
  forall p: party do is_honest[p] -> signers(p) + B < QUORUM endforall;

invariant "no NOVERDICTs can be made that remove an honest peer"
  doubters() + B >= QUORUM -> forall p: party do doubted(p) -> !is_honest[p] endforall;

invariant "a claim that one honest peer judges ends with evidence"
  quiet() & exists h: honest do delivered[h] endexists -> forall h: honest do frozen[h] endforall;
