-- A part that an aggregator lacks: NEED, PUBLISH, LATE on the part, and their times (STP-16 to STP-19, TIM-3, TIM-4).
--
-- H honest peers and one Byzantine, REDUCE of one step. With ASKED an honest aggregator lacks the Byzantine
-- contributor's part; without it the Byzantine aggregator says that it lacks an honest contributor's. Time is in
-- ticks of delta = delta_bulk; computations take none. Honest peers enter REDUCE at most 3 ticks apart. A message with
-- the object that it names reaches each other honest peer in the same tick or the next; timers fire at the end of their
-- tick. The Byzantine peer says what it likes, to whom it likes, when it likes.

const
  H: 2;                        -- honest peers
  ASKED: true;                 -- an honest aggregator asks for the Byzantine peer's part

  -- Rules that can be switched off, one at a time:
  PASSED_ON: true;             -- STP-17: whoever is in REDUCE passes NEED on
  FROM_ENTRY: true;            -- STP-17: it counts from the own entry into REDUCE on; without it from its receipt
  KEPT: true;                  -- STP-17: what comes before REDUCE is kept
  ANSWERED_LATER: true;        -- STP-18: the contributor publishes also where it is past REDUCE
  TO_ALL: true;                -- STP-18: it publishes to all; without it to the asker only
  LATE_SAID: true;             -- STP-19: LATE where PUBLISH or object do not come
  SERVED: true;                -- AGR-8: who holds what a LATE names forwards it, and serves it
  BULK_TIME_IS_ENOUGH: true;   -- TIM-3: W_bulk; without it one tick short
  PUBLISH_TIME_IS_ENOUGH: true; -- TIM-3: T_publish; without it one tick short
  REDUCE_TIME_IS_ENOUGH: true; -- TIM-4: T_reduce; without it one tick short

  SKEW: 3;
  W_BULK: BULK_TIME_IS_ENOUGH ? 4 : 3;
  T_PUBLISH: PUBLISH_TIME_IS_ENOUGH ? 4 : 3;
  T_REDUCE: REDUCE_TIME_IS_ENOUGH ? 14 : 13;
  QUORUM: (H + 1) / 2 + 1;

type
  honest: scalarset(H);
  flight: 0..3;                -- 0 nothing, 1 sent in this tick, 2 due in this tick, 3 arrived
  place: enum { COMMIT, REDUCE, LATER };

var
  asker: honest;               -- with ASKED the aggregator; without it nobody in particular
  subject: honest;             -- without ASKED the contributor; with it an honest one, whose part comes without a NEED
  at: array[honest] of place;
  skew: 0..SKEW;               -- ticks since the first of them entered REDUCE
  clock: array[honest] of 0..14;                       -- ticks in REDUCE
  need: array[honest] of enum { NONE, KEPT_BACK, COUNTS };
  timer: array[honest] of 0..5;                        -- ticks since NEED began to count, plus 1; 0: no timer
  needs: array[honest] of array[honest] of flight;     -- NEED: from, to
  part: array[honest] of boolean;                      -- PUBLISH and its object are here
  parts: array[honest] of array[honest] of flight;
  own_part: boolean;                                   -- with ASKED: the aggregator has the subject's part
  late: array[honest] of boolean;
  lates: array[honest] of array[honest] of flight;     -- LATE on the part: from, to
  reduced: boolean;                                    -- with ASKED: the aggregator has all parts
  aggregate: array[honest] of flight;
  frozen: boolean;                                     -- somebody holds q LATEs; what then, settle.m says
  late_on_honest: boolean;
  needed_honest: boolean;

procedure send_part(o: honest; h: honest);
begin
  if part[o] & !part[h] & parts[o][h] = 0 then parts[o][h] := 1; endif;
end;

procedure count_lates(h: honest);
var n: 0..H;
begin
  n := late[h] ? 1 : 0;
  for o: honest do if lates[o][h] = 3 then n := n + 1; endif; endfor;
  if ASKED & n >= QUORUM then frozen := true; endif;
end;

procedure complete();                                  -- the aggregator can aggregate
begin
  if ASKED & !reduced & at[asker] = REDUCE & part[asker] & own_part then
    reduced := true;
    for o: honest do if o != asker then aggregate[o] := 1; endif; endfor;
  endif;
end;

procedure publish();                                   -- the honest contributor's answer
begin
  if !part[subject] then
    part[subject] := true;
    if TO_ALL then for o: honest do if o != subject then parts[subject][o] := 1; endif; endfor; endif;
  endif;
end;

procedure heed(h: honest);                             -- NEED counts from now on
begin
  need[h] := COUNTS;
  if !ASKED & h = subject & (ANSWERED_LATER | at[h] = REDUCE) then publish(); endif;
  if at[h] = REDUCE then
    if timer[h] = 0 then timer[h] := 1; endif;
    if PASSED_ON then
      for o: honest do if o != h & need[o] = NONE & needs[h][o] = 0 then needs[h][o] := 1; endif; endfor;
    endif;
  endif;
end;

procedure receive_need(h: honest);
begin
  if need[h] = NONE then
    if at[h] != COMMIT then heed(h);
    elsif KEPT then
      need[h] := KEPT_BACK;
      if !FROM_ENTRY then timer[h] := 1; endif;
    endif;
  endif;
end;

procedure receive_part(h: honest);
begin
  if !part[h] then
    part[h] := true;
    for o: honest do
      if o != h & lates[o][h] = 3 & SERVED then send_part(h, o); endif;
    endfor;
    complete();
  endif;
end;

function timely(): boolean;
begin
  return forall h: honest do
    (at[h] != COMMIT | skew < SKEW) & aggregate[h] != 2
    & forall o: honest do needs[h][o] != 2 & parts[h][o] != 2 & lates[h][o] != 2 endforall
  endforall
  & (!ASKED | own_part | at[subject] = COMMIT | at[asker] = COMMIT | clock[subject] = 0 | clock[asker] = 0);
end;

function quiet(): boolean;
begin
  return forall h: honest do
    at[h] != COMMIT & timer[h] = 0 & aggregate[h] % 3 = 0
    & (!ASKED | at[h] = LATER | clock[h] = T_REDUCE)
    & forall o: honest do needs[h][o] % 3 = 0 & parts[h][o] % 3 = 0 & lates[h][o] % 3 = 0 endforall
  endforall;
end;

ruleset a: honest; s: honest do
  startstate
  begin
    undefine asker;
    undefine subject;
    clear skew;
    clear at;
    clear clock;
    clear need;
    clear timer;
    clear needs;
    clear part;
    clear parts;
    clear own_part;
    clear late;
    clear lates;
    clear reduced;
    clear aggregate;
    clear frozen;
    clear late_on_honest;
    clear needed_honest;
    asker := a;
    subject := s;
    if a = s then own_part := true; endif;             -- the same as without ASKED, or with no other contributor
  endstartstate;
endruleset;

-- Honest peers --------------------------------------------------------------------------------------------

ruleset h: honest do
  rule "enter REDUCE"
    !frozen & at[h] = COMMIT
  ==>
    at[h] := REDUCE;
    if need[h] = KEPT_BACK then heed(h); endif;
    complete();
  endrule;

  rule "leave REDUCE"                                  -- all REDUCE messages are here, the Byzantine peer's too
    !frozen & at[h] = REDUCE & forall o: honest do at[o] != COMMIT endforall
    & (!ASKED | reduced & (h = asker | aggregate[h] = 3))
  ==>
    at[h] := LATER;
    timer[h] := 0;
    clock[h] := 0;
  endrule;

  rule "the subject's part comes"
    ASKED & !frozen & h = asker & !own_part & at[subject] != COMMIT & at[asker] != COMMIT
  ==>
    own_part := true;
    complete();
  endrule;

  rule "deliver the aggregate"
    !frozen & (aggregate[h] = 1 | aggregate[h] = 2) & at[h] != COMMIT
  ==>
    aggregate[h] := 3;
  endrule;

  ruleset o: honest do
    rule "deliver NEED"
      !frozen & (needs[o][h] = 1 | needs[o][h] = 2)
    ==>
      needs[o][h] := 3;
      receive_need(h);
    endrule;

    rule "deliver PUBLISH"
      !frozen & (parts[o][h] = 1 | parts[o][h] = 2)
    ==>
      parts[o][h] := 3;
      receive_part(h);
    endrule;

    rule "deliver LATE"
      !frozen & (lates[o][h] = 1 | lates[o][h] = 2)
    ==>
      lates[o][h] := 3;
      if SERVED then send_part(h, o); endif;
      count_lates(h);
    endrule;
  endruleset;
endruleset;

-- The Byzantine peer --------------------------------------------------------------------------------------

ruleset h: honest do
  rule "Byzantine NEED"
    !ASKED & !frozen & need[h] = NONE
  ==>
    receive_need(h);
  endrule;

  rule "Byzantine PUBLISH, or the part itself"
    ASKED & !frozen & !part[h] & at[h] != COMMIT & (need[h] = COUNTS | h = asker)
  ==>
    receive_part(h);
  endrule;
endruleset;

-- Time ----------------------------------------------------------------------------------------------------

rule "tick"
  !frozen & timely() & !quiet()
==>
begin
  for h: honest do
    if at[h] = REDUCE then
      if ASKED & h = asker & clock[h] = W_BULK then
        if !own_part then needed_honest := true; endif;
        if !part[h] then heed(h); endif;
      endif;
      if ASKED & clock[h] = T_REDUCE & h != asker & aggregate[h] != 3 then late_on_honest := true; endif;
    endif;
    if timer[h] = T_PUBLISH + 1 & !part[h] & !late[h] & LATE_SAID & at[h] = REDUCE then
      if !ASKED then late_on_honest := true; endif;
      late[h] := true;
      for o: honest do if o != h then lates[h][o] := 1; endif; endfor;
    endif;
  endfor;
  for h: honest do
    if timer[h] = T_PUBLISH + 1 then timer[h] := 0; elsif timer[h] > 0 then timer[h] := timer[h] + 1; endif;
    if ASKED & at[h] = REDUCE & clock[h] < T_REDUCE then clock[h] := clock[h] + 1; endif;
    if late[h] then count_lates(h); endif;
    if aggregate[h] = 1 then aggregate[h] := 2; endif;
    for o: honest do
      if needs[h][o] = 1 then needs[h][o] := 2; endif;
      if parts[h][o] = 1 then parts[h][o] := 2; endif;
      if lates[h][o] = 1 then lates[h][o] := 2; endif;
    endfor;
  endfor;
  if skew < SKEW & exists h: honest do at[h] != COMMIT endexists then skew := skew + 1; endif;
endrule;

-- What must hold ------------------------------------------------------------------------------------------

invariant "no honest peer says LATE on an honest one"
  !late_on_honest;

invariant "no honest aggregator says that it lacks an honest contributor's part"
  !needed_honest;

invariant "nobody waits for what cannot come"
  ASKED & quiet() & !frozen -> reduced;
