-- The phases of a step: per-recipient delivery, prev, pull, ENTER, LATE, freeze; then SETTLE and ratification
-- (in more detail in settle.m), and the honest peers' phases in the epoch after it.
--
-- H honest peers and one Byzantine. Positions 0..STEP-1 are the phases of a step, the last of them ACCUSE;
-- position STEP is the next step's first; the positions after it belong to the next epoch, without the
-- Byzantine peer. Time is in ticks of delta: what an honest peer sends reaches each other honest peer in the
-- same tick or the next; timers fire at the end of their tick. The Byzantine peer sends anything that it can
-- sign, to anybody, at any time: in each slot four different messages (two contents, two values of prev).

const
  H: 2;                        -- honest peers
  STEP: 2;                     -- phases of the step
  C: 1;                        -- ticks from entering a phase to sending at most
  AHEAD: false;                -- the Byzantine peer sends messages of the next phase, too
  ASKEW: false;                -- it sends messages that do not fit the receiver's view, too

  -- Rules that can be switched off, one at a time:
  FREEZE: true;                -- AGR-11: evidence ends all phase business of the epoch
  CERTIFICATE_IS_INPUT: true;  -- AGR-12: a peer that freezes signs commit for its certificate
  PREV_COMPARED: true;         -- AGR-3: a message counts only if its prev is the receiver's own
  PULL_AT_ONCE: true;          -- AGR-5: pull on a message of the phase after; without it LATE alone asks
  ENTER_SENT: true;            -- AGR-5: ENTER on entering ACCUSE, which triggers the pull like a message
  LATE_ANSWERED: true;         -- AGR-8: who holds what a LATE names forwards it
  LATE_ANSWERED_LATER: true;   -- AGR-8: also when it comes only after the LATE
  TIME_IS_ENOUGH: true;        -- TIM-2: without it time-outs are one tick short
  ENTERED_TIME_IS_ENOUGH: true; -- TIM-5: the same where ENTER precedes
  OUTCOME_IS_APPLIED: true;    -- AGR-14: the outcome's step is applied where it was not
  SIGNATURES_SENT_ON: true;    -- AGR-15: whoever enters sends its q signatures to all
  NEXT_KEPT: true;             -- AGR-4: messages of the next phase and epoch are kept

  NEW: STEP + 1;               -- first position of the next epoch
  LAST: STEP + 2;
  TMAX: 2 * C + 4;
  QUORUM: (H + 1) / 2 + 1;
  ROUNDS: 2;                   -- f + 1

type
  honest: scalarset(H);
  place: 0..LAST;
  flight: 0..3;                -- 0 nothing, 1 sent in this tick, 2 due in this tick, 3 arrived
  message: 0..4;               -- the Byzantine peer's: 0 none, else 1 + content + 2 * prev
  view: 0..2;                  -- of a transcript: 0 none, else 1 + the Byzantine peer's content
  mode: enum { RUN, SETTLE, RATIFY, DONE };

var
  ep: array[honest] of 0..1;
  mo: array[honest] of mode;
  at: array[honest] of place;
  clock: array[honest] of 0..TMAX+1;        -- ticks in this phase; TMAX + 1 after the time-out
  said: array[honest] of boolean;           -- sent the message of this phase
  byz: array[place] of array[honest] of message;                 -- the Byzantine peer's, as first received
  msg: array[place] of array[honest] of array[honest] of flight; -- from, to
  enters: array[honest] of array[honest] of flight;
  pull: array[place] of array[honest] of array[honest] of flight;
  forward: array[place] of array[honest] of array[honest] of flight; -- the Byzantine peer's message
  late: array[place] of array[honest] of array[honest] of flight;    -- LATE on the Byzantine peer's message
  late_on_honest: boolean;
  said_ok: array[honest] of view;           -- transcript that the own ACCUSE follows
  applied: array[honest] of view;           -- the step, by its certificate or the outcome
  certified: array[honest] of view;

  el: array[honest] of 0..2*ROUNDS;         -- ticks since the freeze
  guilty: array[honest] of array[honest] of flight;
  sigs: array[honest] of array[view] of 0..H+1;
  commit: array[honest] of array[honest] of array[view] of flight;
  signed: array[honest] of boolean;
  outcome: array[honest] of view;
  clash: boolean;                           -- two commits of one step were accepted
  holds: array[honest] of array[honest] of boolean;
  holds_byz: array[honest] of boolean;
  epochs: array[honest] of array[honest] of flight;
  sent_on: array[honest] of array[honest] of flight;

function time_out(p: place): 0..TMAX;
begin
  if p = STEP - 1 & ENTER_SENT then return C + (ENTERED_TIME_IS_ENOUGH ? 4 : 3); endif;
  if p = STEP - 1 then return C + 4; endif;
  return 2 * C + (TIME_IS_ENOUGH ? 4 : 3);
end;

function content(p: place; h: honest): 0..1;
begin
  if byz[p][h] = 0 then return 0; endif;
  return (byz[p][h] - 1) % 2;
end;

function prev(p: place; h: honest): 0..1;  -- what h's own message at p says
begin
  if p = 0 | p > STEP then return 0; endif;
  return content(p - 1, h);
end;

function active(h: honest): boolean;       -- takes part in the phases of epoch 0
begin
  return ep[h] = 0 & (mo[h] = RUN | mo[h] = DONE | (!FREEZE & mo[h] = SETTLE));
end;

function has_byz(h: honest): boolean;      -- delivered at h's place
begin
  if at[h] > STEP then return true; endif;
  return byz[at[h]][h] != 0 & (!PREV_COMPARED | (byz[at[h]][h] - 1) / 2 = prev(at[h], h));
end;

function has(h: honest; o: honest): boolean;
begin
  if h = o then return said[h]; endif;
  return msg[at[h]][o][h] = 3 & (!PREV_COMPARED | prev(at[h], o) = prev(at[h], h));
end;

procedure ask(p: place; h: honest; o: honest);
begin
  if PULL_AT_ONCE & p <= STEP & pull[p][h][o] = 0 then pull[p][h][o] := 1; endif;
end;

procedure ask_where_views_differ(h: honest);
begin
  if at[h] > 0 & at[h] <= STEP then
    for o: honest do
      if o != h & msg[at[h]][o][h] = 3 & prev(at[h], o) != prev(at[h], h) then ask(at[h] - 1, h, o); endif;
    endfor;
  endif;
end;

procedure forget();                        -- what nobody can use any more
var frozen: boolean; p: place;
begin
  frozen := forall h: honest do ep[h] = 1 | mo[h] = RATIFY | (FREEZE & mo[h] = SETTLE) endforall;
  for p: place do
    if (frozen & p <= STEP) | forall h: honest do p + 1 < at[h] endforall then
      for h: honest do
        byz[p][h] := 0;
        for o: honest do
          msg[p][h][o] := 0;
          pull[p][h][o] := 0;
          forward[p][h][o] := 0;
          late[p][h][o] := 0;
        endfor;
      endfor;
    endif;
  endfor;
  if frozen | forall h: honest do at[h] >= STEP - 1 endforall then
    for h: honest do for o: honest do enters[h][o] := 0; endfor; endfor;
  endif;
end;

procedure say(h: honest);
begin
  said[h] := true;
  for o: honest do
    if o != h & (at[h] > STEP | active(o)) then msg[at[h]][h][o] := 1; endif;
  endfor;
  if at[h] = STEP - 1 then said_ok[h] := 1 + content(STEP - 2, h); endif;
end;

procedure advance(h: honest);
var moving: boolean;
begin
  moving := true;
  while moving do
    moving := false;
    if C = 0 & !said[h] & mo[h] = RUN then say(h); endif;
    if (mo[h] = RUN | (!FREEZE & mo[h] = SETTLE & at[h] <= STEP & ep[h] = 0)) & has_byz(h)
       & forall o: honest do has(h, o) endforall then
      if at[h] = STEP | at[h] = LAST then
        if mo[h] = RUN then mo[h] := DONE; clock[h] := TMAX + 1; endif;
      else
        if at[h] = STEP - 1 then
          certified[h] := 1 + content(STEP - 2, h);
          applied[h] := certified[h];
        endif;
        at[h] := at[h] + 1;
        clock[h] := 0;
        said[h] := false;
        if at[h] = STEP - 1 & ENTER_SENT then
          for o: honest do if o != h & at[o] < at[h] then enters[h][o] := 1; endif; endfor;
        endif;
        ask_where_views_differ(h);
        forget();
        moving := true;
      endif;
    endif;
  endwhile;
end;

procedure accept_commit(h: honest; v: view; k: 0..H+1);
begin
  if sigs[h][v] = 0 then
    sigs[h][v] := k + 1;
    for o: honest do
      if o != h & ep[o] = 0 & sigs[o][v] = 0 then commit[h][o][v] := 1; endif;
      commit[o][h][v] := 0;
    endfor;
  endif;
end;

procedure freeze(h: honest);
begin
  if ep[h] = 0 & (mo[h] = RUN | mo[h] = DONE) then
    mo[h] := SETTLE;
    el[h] := 0;
    if FREEZE then
      clock[h] := 0;
      said[h] := false;
    endif;
    for o: honest do
      if o != h then
        guilty[o][h] := 0;
        if ep[o] = 0 & (mo[o] = RUN | mo[o] = DONE) then guilty[h][o] := 1; endif;
        if FREEZE then
          enters[o][h] := 0;
          for p: place do
            if p <= STEP then msg[p][o][h] := 0; forward[p][o][h] := 0; late[p][o][h] := 0; pull[p][h][o] := 0; endif;
          endfor;
        endif;
      endif;
    endfor;
    if certified[h] != 0 & CERTIFICATE_IS_INPUT then accept_commit(h, certified[h], 0); endif;
    for o: honest do
      for v: view do
        if commit[o][h][v] = 3 then accept_commit(h, v, sigs[o][v]); commit[o][h][v] := 0; endif;
      endfor;
    endfor;
    forget();
  endif;
end;

procedure receive_byz(h: honest; p: place; m: message);
begin
  if active(h) & p <= at[h] + 1 then
    if byz[p][h] = 0 then
      byz[p][h] := m;
      for o: honest do
        if o != h & late[p][o][h] = 3 & forward[p][h][o] = 0 & LATE_ANSWERED & LATE_ANSWERED_LATER & active(o) then
          forward[p][h][o] := 1;
        endif;
      endfor;
      if p = at[h] then ask_where_views_differ(h); endif;
      advance(h);
    elsif byz[p][h] != m then
      freeze(h);
    endif;
  endif;
end;

procedure count_lates(p: place; h: honest);
var n: 0..H;
begin
  n := 0;
  for o: honest do
    if late[p][o][h] = 3 then n := n + 1; endif;
  endfor;
  if n >= QUORUM then freeze(h); endif;
end;

procedure enter(h: honest);
var count: 0..H+1;
begin
  if mo[h] = RATIFY then
    count := holds_byz[h] ? 1 : 0;
    for o: honest do if holds[h][o] then count := count + 1; endif; endfor;
    if count >= QUORUM then
      for o: honest do
        epochs[o][h] := 0;
        sent_on[o][h] := 0;
        for v: view do commit[o][h][v] := 0; endfor;
        if SIGNATURES_SENT_ON & o != h & ep[o] = 0 then sent_on[h][o] := 1; endif;
      endfor;
      mo[h] := RUN;
      ep[h] := 1;
      at[h] := NEW;
      clock[h] := 0;
      said[h] := false;
      forget();
      advance(h);
    endif;
  endif;
end;

function timely(): boolean;
begin
  return forall h: honest do forall o: honest do
    enters[h][o] != 2 & guilty[h][o] != 2 & epochs[h][o] != 2 & sent_on[h][o] != 2
    & forall v: view do commit[h][o][v] != 2 endforall
    & forall p: place do msg[p][h][o] != 2 & pull[p][h][o] != 2 & forward[p][h][o] != 2 & late[p][h][o] != 2 endforall
  endforall endforall
  & forall h: honest do mo[h] != RUN | said[h] | clock[h] < C endforall;
end;

function quiet(): boolean;
begin
  return forall h: honest do
    mo[h] != SETTLE & (mo[h] != RUN | clock[h] = TMAX + 1) & forall o: honest do
      enters[h][o] % 3 = 0 & guilty[h][o] % 3 = 0 & epochs[h][o] % 3 = 0 & sent_on[h][o] % 3 = 0
      & forall v: view do commit[h][o][v] % 3 = 0 endforall
      & forall p: place do msg[p][h][o] % 3 = 0 & pull[p][h][o] % 3 = 0 & forward[p][h][o] % 3 = 0 & late[p][h][o] % 3 = 0 endforall
    endforall
  endforall;
end;

startstate begin
  late_on_honest := false;
  clash := false;
  for h: honest do
    ep[h] := 0; mo[h] := RUN; at[h] := 0; clock[h] := 0; said[h] := false;
    said_ok[h] := 0; applied[h] := 0; certified[h] := 0;
    el[h] := 0; signed[h] := false; outcome[h] := 0; holds_byz[h] := false;
    for v: view do sigs[h][v] := 0; endfor;
    for p: place do byz[p][h] := 0; endfor;
    for o: honest do
      enters[h][o] := 0; guilty[h][o] := 0; holds[h][o] := false; epochs[h][o] := 0; sent_on[h][o] := 0;
      for v: view do commit[h][o][v] := 0; endfor;
      for p: place do msg[p][h][o] := 0; pull[p][h][o] := 0; forward[p][h][o] := 0; late[p][h][o] := 0; endfor;
    endfor;
  endfor;
end;

-- Honest peers --------------------------------------------------------------------------------------------

ruleset h: honest do
  rule "send"
    !said[h] & (mo[h] = RUN | (!FREEZE & mo[h] = SETTLE & at[h] <= STEP))
  ==>
    say(h);
    advance(h);
  endrule;

  ruleset o: honest do
    rule "deliver ENTER"
      enters[o][h] = 1 | enters[o][h] = 2
    ==>
      enters[o][h] := 3;
      if active(h) & at[h] = STEP - 2 then ask(at[h], h, o); endif;
    endrule;

    rule "deliver guilty"
      guilty[o][h] = 1 | guilty[o][h] = 2
    ==>
      guilty[o][h] := 0;
      freeze(h);
    endrule;

    rule "deliver EPOCH"
      epochs[o][h] = 1 | epochs[o][h] = 2
    ==>
      epochs[o][h] := 0;
      holds[h][o] := true;
      enter(h);
    endrule;

    rule "deliver EPOCH signatures sent on"
      sent_on[o][h] = 1 | sent_on[o][h] = 2
    ==>
      sent_on[o][h] := 0;
      for x: honest do if holds[o][x] then holds[h][x] := true; endif; endfor;
      if holds_byz[o] then holds_byz[h] := true; endif;
      enter(h);
    endrule;

    ruleset v: view do
      rule "deliver commit"
        commit[o][h][v] = 1 | commit[o][h][v] = 2
      ==>
        commit[o][h][v] := 0;
        if ep[h] = 0 & sigs[h][v] = 0 then
          if mo[h] = RUN | mo[h] = DONE then
            if certified[h] = 0 then commit[o][h][v] := 3; endif;
          elsif mo[h] = SETTLE & el[h] <= 2 * sigs[o][v] then
            accept_commit(h, v, sigs[o][v]);
          endif;
        endif;
      endrule;
    endruleset;

    ruleset p: place do
      rule "deliver message"
        msg[p][o][h] = 1 | msg[p][o][h] = 2
      ==>
        if p <= STEP & !active(h) then
          msg[p][o][h] := 0;
        elsif !NEXT_KEPT & p != at[h] then
          msg[p][o][h] := 0;
        else
          msg[p][o][h] := 3;
          if p = at[h] + 1 & p <= STEP then ask(at[h], h, o); endif;
          if p = at[h] then ask_where_views_differ(h); endif;
          advance(h);
        endif;
      endrule;

      rule "deliver pull"
        pull[p][o][h] = 1 | pull[p][o][h] = 2
      ==>
        pull[p][o][h] := 3;
        if ep[h] = 0 & p <= at[h] & at[h] <= p + 1 & byz[p][h] != 0 & forward[p][h][o] = 0 & active(o) then
          forward[p][h][o] := 1;
        endif;
      endrule;

      rule "deliver what was asked for"
        forward[p][o][h] = 1 | forward[p][o][h] = 2
      ==>
        forward[p][o][h] := 3;
        receive_byz(h, p, byz[p][o]);
      endrule;

      rule "deliver LATE"
        late[p][o][h] = 1 | late[p][o][h] = 2
      ==>
        late[p][o][h] := 0;
        if active(h) & p <= at[h] + 1 & at[h] <= p + 1 then
          late[p][o][h] := 3;
          if LATE_ANSWERED & byz[p][h] != 0 & forward[p][h][o] = 0 & active(o) then forward[p][h][o] := 1; endif;
          count_lates(p, h);
        endif;
      endrule;
    endruleset;
  endruleset;
endruleset;

-- The Byzantine peer --------------------------------------------------------------------------------------

ruleset h: honest do
  ruleset m: 1..4 do
    rule "Byzantine message"
      ep[h] = 0 & at[h] <= STEP & byz[at[h]][h] = 0 & active(h)
      & (m <= 2 | at[h] > 0) & (ASKEW | (m - 1) / 2 = prev(at[h], h))
    ==>
      receive_byz(h, at[h], m);
    endrule;

    rule "Byzantine message of the next phase"
      AHEAD & ep[h] = 0 & at[h] < STEP & byz[at[h] + 1][h] = 0 & active(h)
    ==>
      receive_byz(h, at[h] + 1, m);
    endrule;
  endruleset;

  rule "Byzantine evidence"  -- two messages in one slot, a malformed one, or its own LATE to make a quorum
    ep[h] = 0 & (mo[h] = RUN | mo[h] = DONE)
  ==>
    freeze(h);
  endrule;

  ruleset v: 1..2; k: 1..H do
    rule "Byzantine commit"
      ep[h] = 0 & mo[h] = SETTLE & sigs[h][v] = 0 & el[h] <= 2 * k
      & forall o: honest do said_ok[o] = v endforall
    ==>
      var most: 0..H+1;
    begin
      most := 1;
      for o: honest do if sigs[o][v] > 0 then most := most + 1; endif; endfor;
      if k <= most then accept_commit(h, v, k); endif;
    endrule;
  endruleset;

  rule "Byzantine EPOCH signature"
    ep[h] = 0 & (mo[h] = RATIFY | (mo[h] = SETTLE & el[h] = 2 * ROUNDS)) & !holds_byz[h]
  ==>
    holds_byz[h] := true;
    enter(h);
  endrule;
endruleset;

-- Time ----------------------------------------------------------------------------------------------------

rule "tick"
  timely() & !quiet()
==>
begin
  for h: honest do
    if mo[h] = RUN then
      if clock[h] = time_out(at[h]) then
        if !has_byz(h) then
          for o: honest do
            if o = h then late[at[h]][h][h] := 3; elsif active(o) then late[at[h]][h][o] := 1; endif;
          endfor;
        endif;
        if exists o: honest do o != h & !has(h, o) endexists then late_on_honest := true; endif;
        clock[h] := TMAX + 1;
        count_lates(at[h], h);
      elsif clock[h] <= TMAX then
        clock[h] := clock[h] + 1;
      endif;
    endif;
  endfor;
  for h: honest do
    if mo[h] = SETTLE then
      if el[h] = 2 * ROUNDS then
        for v: view do
          if sigs[h][v] > 0 then
            if outcome[h] != 0 then clash := true; endif;
            outcome[h] := v;
            if OUTCOME_IS_APPLIED & applied[h] = 0 then applied[h] := v; endif;
          endif;
        endfor;
        mo[h] := RATIFY;
        signed[h] := true;
        holds[h][h] := true;
        el[h] := 0;
        if !FREEZE then clock[h] := 0; said[h] := false; endif;
        for o: honest do if o != h & ep[o] = 0 then epochs[h][o] := 1; endif; endfor;
      else
        el[h] := el[h] + 1;
      endif;
    endif;
  endfor;
  for h: honest do enter(h); endfor;
  for h: honest do for o: honest do
    if enters[h][o] = 1 then enters[h][o] := 2; endif;
    if guilty[h][o] = 1 then guilty[h][o] := 2; endif;
    if epochs[h][o] = 1 then epochs[h][o] := 2; endif;
    if sent_on[h][o] = 1 then sent_on[h][o] := 2; endif;
    for v: view do if commit[h][o][v] = 1 then commit[h][o][v] := 2; endif; endfor;
    for p: place do
      if msg[p][h][o] = 1 then msg[p][h][o] := 2; endif;
      if pull[p][h][o] = 1 then pull[p][h][o] := 2; endif;
      if forward[p][h][o] = 1 then forward[p][h][o] := 2; endif;
      if late[p][h][o] = 1 then late[p][h][o] := 2; endif;
    endfor;
  endfor; endfor;
endrule;

-- What must hold ------------------------------------------------------------------------------------------

invariant "no honest peer says LATE on an honest one"
  !late_on_honest;

invariant "no two honest peers apply different transcripts"
  forall h: honest do forall o: honest do applied[h] = 0 | applied[o] = 0 | applied[h] = applied[o] endforall endforall;

invariant "honest peers ratify equal outcomes"
  !clash & forall h: honest do forall o: honest do signed[h] & signed[o] -> outcome[h] = outcome[o] endforall endforall;

invariant "a step that one honest peer applied is in everybody's outcome"
  forall h: honest do forall o: honest do signed[o] & certified[h] != 0 -> outcome[o] = certified[h] endforall endforall;

invariant "a peer stands where its outcome says"
  forall h: honest do signed[h] -> applied[h] = outcome[h] endforall;

invariant "nobody waits for what cannot come"
  quiet() -> forall h: honest do forall o: honest do mo[h] = DONE & ep[h] = ep[o] endforall endforall;
