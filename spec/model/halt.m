-- Halting, asking and returning: which record of an epoch's end comes about where the times do not hold.
--
-- H honest and B Byzantine peers (all of these do the same). Links break: nothing here has a time, everything may be
-- lost, late, or reach some alone; a time-out may come at any moment. So a peer may act on any part of what others
-- ever said. Of a step only ACCUSE is here: who holds all `ok`s has its certificate, one in each epoch. SETTLE is
-- what it still guarantees without times: who is left out is proved guilty, and the own certificate is in the outcome.
-- Against Byzantine peers there is proof at any time; LATE may be said of anybody.

const
  H: 3;                        -- honest peers
  B: 1;                        -- Byzantine peers
  EPOCHS: 1;                   -- epochs that may end
  BRAKE: 1;                    -- late_brake (AGR-24); the largest is f_max
  STEPS: true;                 -- a step may be certified in each epoch
  LATES: true;                 -- LATE is said of honest peers, too
  PROOF: true;                 -- there is evidence that bans, against the Byzantine peers
  OPERATORS: false;            -- operators may give somebody up by name (AGR-26), each whom it likes
  AGREED: false;               -- all of them the same one

  -- Rules that can be switched off, one at a time:
  ALL_SIGN: true;              -- AGR-15: a STAY that leaves nobody out counts with all signatures; without it with q
  FIRST_COUNTS: true;          -- AGR-15: of a STAY that leaves somebody out, a quorum counts that signed nothing before
  SAME_STEP: true;             -- AGR-23: signed where all are halted before the same step; without it before any
  KNOWN_FIRST: true;           -- AGR-23: signed where no outcome is known to be enough; without it at any time
  ALL_LISTED: true;            -- AGR-23: a STAY is signed where all whom it lists are halted; without it q of them
  PROMISED: true;              -- AGR-27: who signed STAY certifies and enters by nothing else; without it as before
  CERTIFICATE_SENT: true;      -- AGR-20: who is halted gets the certificate that it lacks
  APPLIED_ON_ENTRY: true;      -- AGR-22: the record's last step is applied by its certificate
  TAKEN_BACK: true;            -- AGR-22: a step that the record does not have is taken back
  LEFT_IN_COUNT: true;         -- AGR-15: who is left out of a record does not count among its signers

  MEMBERS: H + B;
  FMAX: (H + B - 1) / 2;

type
  honest: scalarset(H);
  epoch: 0..EPOCHS-1;
  number: 0..EPOCHS;
  mode: enum { RUN, SETTLE, RATIFY, HALTED, OUT };

var
  ep: array[honest] of number;
  mo: array[honest] of mode;
  member: array[number] of array[honest] of array[honest] of boolean; -- the roster as the first of them has it
  byz_in: array[number] of array[honest] of boolean;
  ok: array[epoch] of array[honest] of boolean;
  applied: array[epoch] of array[honest] of boolean;               -- the step of the epoch, by its certificate
  late: array[epoch] of array[honest] of array[honest] of boolean; -- LATE: author, subject
  said: array[epoch] of array[honest] of array[boolean] of array[boolean] of boolean;
                               -- polled as halted: before or after the step; whether an outcome was signed
  guilty: array[epoch] of array[honest] of array[honest] of boolean; -- left out of the own outcome
  guilty_byz: array[epoch] of array[honest] of boolean;
  with_step: array[epoch] of array[honest] of boolean;             -- the own outcome starts after the step
  signed: array[epoch] of array[honest] of boolean;                -- this outcome
  stay: array[epoch] of array[honest] of array[boolean] of boolean; -- signed STAY with all, and where to start
  named: array[epoch] of array[honest] of array[honest] of boolean; -- whom its operator gave up: one at most
  named_byz: array[epoch] of array[honest] of boolean;
  left: array[epoch] of array[honest] of array[boolean] of boolean; -- signed STAY without this one
  first: array[epoch] of array[honest] of boolean;                 -- and nothing else before
  started: array[epoch] of array[honest] of boolean;               -- where the record started that it left with
  by_name: array[epoch] of array[honest] of boolean;               -- left by a STAY that leaves somebody out
  lost: boolean;                                                   -- a step was applied that all do again

-- What was signed ------------------------------------------------------------------------------------------

function members(e: epoch; h: honest): 0..MEMBERS;
var n: 0..MEMBERS;
begin
  n := byz_in[e][h] ? B : 0;
  for o: honest do if member[e][h][o] then n := n + 1; endif; endfor;
  return n;
end;

function same(e: epoch; a: honest; b: honest): boolean;
begin
  return with_step[e][a] = with_step[e][b] & guilty_byz[e][a] = guilty_byz[e][b]
    & forall x: honest do guilty[e][a][x] = guilty[e][b][x] endforall;
end;

function decided(e: epoch; a: honest): boolean;                  -- enough signed a's outcome
var n: 0..MEMBERS;
begin
  if !signed[e][a] then return false; endif;
  n := byz_in[e][a] & !(LEFT_IN_COUNT & guilty_byz[e][a]) ? B : 0;
  for o: honest do if member[e][a][o] & signed[e][o] & same(e, a, o) then n := n + 1; endif; endfor;
  return n >= members(e, a) / 2 + 1;
end;

function all_stay(e: epoch; h: honest; s: boolean): boolean;       -- enough signed that all stay
var n: 0..MEMBERS;
begin
  n := byz_in[e][h] ? B : 0;
  for o: honest do if member[e][h][o] & stay[e][o][s] then n := n + 1; endif; endfor;
  return n >= (ALL_SIGN ? members(e, h) : members(e, h) / 2 + 1) & n > (byz_in[e][h] ? B : 0);
end;

function named_alike(e: epoch; a: honest; b: honest): boolean;
begin
  return named_byz[e][a] = named_byz[e][b] & forall x: honest do named[e][a][x] = named[e][b][x] endforall;
end;

function parted(e: epoch; a: honest; s: boolean): boolean;       -- enough signed a's STAY that leaves somebody out
var all: 0..MEMBERS; q: 0..MEMBERS; byz: 0..MEMBERS; listed: 0..MEMBERS;
begin
  if !left[e][a][s] then return false; endif;
  byz := byz_in[e][a] & !named_byz[e][a] ? B : 0;
  all := byz;
  q := byz;
  listed := byz;
  for o: honest do
    if member[e][a][o] & !named[e][a][o] then
      listed := listed + 1;
      if left[e][o][s] & named_alike(e, a, o) then
        all := all + 1;
        if first[e][o] | !FIRST_COUNTS then q := q + 1; endif;
      endif;
    endif;
  endfor;
  return all = listed | q >= members(e, a) / 2 + 1;
end;

function names(e: epoch; h: honest): boolean;
begin
  return named_byz[e][h] | exists x: honest do named[e][h][x] endexists;
end;

function promised(e: epoch; h: honest): boolean;                 -- signed STAY
begin
  return exists s: boolean do stay[e][h][s] | left[e][h][s] endexists;
end;

function parts(e: epoch; h: honest): boolean;                    -- the STAY that it signed last leaves somebody out
begin
  return exists s: boolean do left[e][h][s] endexists;
end;

function certificate(e: epoch; h: honest): boolean;              -- the step's certificate can exist
begin
  return STEPS & forall o: honest do member[e][h][o] -> ok[e][o] endforall;
end;

function held(e: epoch; h: honest): boolean;                     -- by somebody who can send it
begin
  return certificate(e, h) & (byz_in[e][h] & B > 0 | exists o: honest do o != h & applied[e][o] endexists);
end;

function provable(e: epoch; h: honest; x: honest): boolean;      -- q LATEs
var n: 0..MEMBERS;
begin
  n := byz_in[e][h] ? B : 0;
  for o: honest do if late[e][o][x] & member[e][h][o] then n := n + 1; endif; endfor;
  return n >= members(e, h) / 2 + 1;
end;

function removes(e: epoch; h: honest): boolean;                  -- by lateness
begin
  return exists x: honest do guilty[e][h][x] endexists;
end;

function over_brake(e: epoch; h: honest): boolean;               -- AGR-24
var n: 0..MEMBERS;
begin
  n := 0;
  for x: honest do if guilty[e][h][x] | late[e][h][x] then n := n + 1; endif; endfor;
  return removes(e, h) & n > BRAKE;
end;

function stays(e: epoch; h: honest; o: honest): boolean;         -- another, whom h's operator has not given up
begin
  return o != h & member[e][h][o] & !named[e][h][o];
end;

function known(e: epoch; h: honest; o: honest): boolean;         -- enough signed o's outcome, for all that h must know
var n: 0..MEMBERS;
begin
  n := 0;
  for x: honest do
    if member[e][h][x] & signed[e][x] & same(e, x, o) & !guilty[e][o][x]
      & (x = h | (stays(e, h, x) & !said[e][x][applied[e][h]][false]))
    then n := n + 1; endif;
  endfor;
  return n >= members(e, h) / 2 + 1;
end;

function open(e: epoch; h: honest): boolean;                     -- has not signed its STAY
begin
  return mo[h] = HALTED & (names(e, h) ? !parts(e, h) : !promised(e, h));
end;

function where_h_is(e: epoch; h: honest; o: honest): boolean;    -- o says to be halted there
var s: boolean;
begin
  s := applied[e][h];
  return exists g: boolean do said[e][o][s][g] | (!SAME_STEP & said[e][o][!s][g]) endexists;
end;

function ready(e: epoch; h: honest): 0..MEMBERS;                 -- who says to be halted where h is
var n: 0..MEMBERS;
begin
  n := byz_in[e][h] & !named_byz[e][h] ? B + 1 : 1;
  for o: honest do
    if stays(e, h, o) & where_h_is(e, h, o) then n := n + 1; endif;
  endfor;
  return n;
end;

function all_ready(e: epoch; h: honest): boolean;                -- all whom its STAY would list
begin
  if names(e, h) & !ALL_LISTED then return ready(e, h) >= members(e, h) / 2 + 1; endif;
  return forall o: honest do stays(e, h, o) -> where_h_is(e, h, o) endforall
    & (names(e, h) | ready(e, h) = members(e, h));
end;

function can_stay(e: epoch; h: honest): boolean;
begin
  return open(e, h) & all_ready(e, h)
    & !(KNOWN_FIRST & exists o: honest do member[e][h][o] & signed[e][o] & known(e, h, o) endexists);
end;

function can_learn(e: epoch; h: honest): boolean;                -- of the step, while it is silent
begin
  return CERTIFICATE_SENT & mo[h] = HALTED & !applied[e][h] & held(e, h)
    & !(PROMISED & promised(e, h) & (parts(e, h) | !names(e, h)));
end;

-- What peers do --------------------------------------------------------------------------------------------

procedure halt(h: honest);
begin
  mo[h] := HALTED;
  said[ep[h]][h][applied[ep[h]][h]][signed[ep[h]][h]] := true;
end;

procedure enter(h: honest; s: boolean);
var e: epoch;
begin
  e := ep[h];
  if s & APPLIED_ON_ENTRY then applied[e][h] := true; endif;
  if !s & TAKEN_BACK then applied[e][h] := false; endif;
  started[e][h] := s;
  if !signed[e][h] then
    for x: honest do guilty[e][h][x] := false; endfor;
    guilty_byz[e][h] := false;
    with_step[e][h] := false;
  endif;
  mo[h] := RUN;
  ep[h] := e + 1;
end;

startstate begin
  lost := false;
  for h: honest do
    ep[h] := 0;
    mo[h] := RUN;
    for e: number do
      byz_in[e][h] := e = 0 & B > 0;
      for o: honest do member[e][h][o] := e = 0; endfor;
    endfor;
    for e: epoch do
      ok[e][h] := false;
      applied[e][h] := false;
      guilty_byz[e][h] := false;
      with_step[e][h] := false;
      signed[e][h] := false;
      started[e][h] := false;
      named_byz[e][h] := false;
      by_name[e][h] := false;
      first[e][h] := false;
      for s: boolean do
        stay[e][h][s] := false;
        left[e][h][s] := false;
        for g: boolean do said[e][h][s][g] := false; endfor;
      endfor;
      for o: honest do named[e][h][o] := false; endfor;
      for o: honest do late[e][h][o] := false; guilty[e][h][o] := false; endfor;
    endfor;
  endfor;
end;

ruleset h: honest do
  rule "ok"
    ep[h] < EPOCHS & mo[h] = RUN & STEPS & !ok[ep[h]][h]
  ==>
    ok[ep[h]][h] := true;
  endrule;

  rule "certificate, from all messages"
    ep[h] < EPOCHS & mo[h] = RUN & !applied[ep[h]][h] & certificate(ep[h], h)
  ==>
    applied[ep[h]][h] := true;
  endrule;

  rule "certificate, by a chain"
    ep[h] < EPOCHS & mo[h] = SETTLE & !with_step[ep[h]][h] & held(ep[h], h)
  ==>
    applied[ep[h]][h] := true;
    with_step[ep[h]][h] := true;
  endrule;

  rule "certificate, in an answer"
    ep[h] < EPOCHS & can_learn(ep[h], h)
  ==>
    applied[ep[h]][h] := true;
    said[ep[h]][h][true][signed[ep[h]][h]] := true;
  endrule;

  ruleset x: honest do
    rule "LATE"
      ep[h] < EPOCHS & LATES & mo[h] = RUN & h != x & member[ep[h]][h][x] & !late[ep[h]][h][x]
    ==>
      late[ep[h]][h][x] := true;
    endrule;

    rule "evidence of lateness"
      ep[h] < EPOCHS & (mo[h] = RUN | mo[h] = SETTLE) & h != x & member[ep[h]][h][x]
      & !guilty[ep[h]][h][x] & provable(ep[h], h, x)
    ==>
      guilty[ep[h]][h][x] := true;
      if mo[h] = RUN then with_step[ep[h]][h] := applied[ep[h]][h]; endif;
      mo[h] := SETTLE;
    endrule;
  endruleset;

  rule "evidence that bans"
    ep[h] < EPOCHS & PROOF & (mo[h] = RUN | mo[h] = SETTLE) & byz_in[ep[h]][h] & !guilty_byz[ep[h]][h]
  ==>
    guilty_byz[ep[h]][h] := true;
    if mo[h] = RUN then with_step[ep[h]][h] := applied[ep[h]][h]; endif;
    mo[h] := SETTLE;
  endrule;

  rule "ratify"
    ep[h] < EPOCHS & mo[h] = SETTLE
  ==>
    if over_brake(ep[h], h) then
      halt(h);
    else
      mo[h] := RATIFY;
      signed[ep[h]][h] := true;
    endif;
  endrule;

  rule "halt"
    ep[h] < EPOCHS & (mo[h] = RUN | mo[h] = SETTLE | mo[h] = RATIFY)
  ==>
  var e: epoch;
  begin
    e := ep[h];
    if !signed[e][h] then                       -- the outcome that it did not come to
      for x: honest do guilty[e][h][x] := false; endfor;
      guilty_byz[e][h] := false;
      with_step[e][h] := false;
    endif;
    halt(h);
  endrule;

  ruleset x: honest do
    rule "its operator gives somebody up"
      ep[h] < EPOCHS & OPERATORS & mo[h] = HALTED & x != h & member[ep[h]][h][x] & !names(ep[h], h)
      & !(AGREED & exists o: honest do names(ep[h], o) & !named[ep[h]][o][x] endexists)
    ==>
      named[ep[h]][h][x] := true;
    endrule;
  endruleset;

  rule "its operator gives the Byzantine peers up"
    ep[h] < EPOCHS & OPERATORS & mo[h] = HALTED & byz_in[ep[h]][h] & !names(ep[h], h)
  ==>
    named_byz[ep[h]][h] := true;
  endrule;

  rule "sign STAY"
    ep[h] < EPOCHS & can_stay(ep[h], h)
  ==>
  var e: epoch;
  begin
    e := ep[h];
    if names(e, h) then
      first[e][h] := !promised(e, h) & !signed[e][h];
      left[e][h][applied[e][h]] := true;
    else
      stay[e][h][applied[e][h]] := true;
    endif;
  endrule;

  ruleset s: boolean do
    rule "enter, and all stay"
      ep[h] < EPOCHS & mo[h] != OUT & all_stay(ep[h], h, s) & (stay[ep[h]][h][s] | !ALL_SIGN)
      & !(PROMISED & parts(ep[h], h))
      & (!s | applied[ep[h]][h] | certificate(ep[h], h))
    ==>
    var e: epoch;
    begin
      e := ep[h];
      if exists o: honest do member[e][h][o] & applied[e][o] != s endexists then lost := true; endif;
      for o: honest do member[e + 1][h][o] := member[e][h][o]; endfor;
      byz_in[e + 1][h] := byz_in[e][h];
      enter(h, s);
    endrule;

    ruleset o: honest do
      rule "enter, and somebody was given up"
        ep[h] < EPOCHS & mo[h] != OUT & member[ep[h]][h][o] & parted(ep[h], o, s)
        & (!s | applied[ep[h]][h] | certificate(ep[h], h))
        & (!(PROMISED & promised(ep[h], h)) | (left[ep[h]][h][s] & named_alike(ep[h], h, o)) | named[ep[h]][o][h])
      ==>
      var e: epoch;
      begin
        e := ep[h];
        if named[e][o][h] then
          mo[h] := OUT;
        else
          for x: honest do member[e + 1][h][x] := member[e][h][x] & !named[e][o][x]; endfor;
          byz_in[e + 1][h] := byz_in[e][h] & !named_byz[e][o];
          by_name[e][h] := true;
          enter(h, s);
        endif;
      endrule;
    endruleset;
  endruleset;

  ruleset o: honest do
    rule "enter"
      ep[h] < EPOCHS & mo[h] != OUT & member[ep[h]][h][o] & decided(ep[h], o)
      & !(PROMISED & promised(ep[h], h))
    ==>
    var e: epoch; s: boolean;
    begin
      e := ep[h];
      if guilty[e][o][h] then
        mo[h] := OUT;
      else
        s := with_step[e][o];
        for x: honest do member[e + 1][h][x] := member[e][h][x] & !guilty[e][o][x]; endfor;
        byz_in[e + 1][h] := byz_in[e][h] & !guilty_byz[e][o];
        enter(h, s);
      endif;
    endrule;
  endruleset;
endruleset;

-- What must hold -------------------------------------------------------------------------------------------

function gives_up(e: epoch; h: honest; o: honest): boolean;
begin
  return by_name[e][h] & !member[e + 1][h][o];
end;

-- Who is given up by name may have left the epoch by another record; those who do not give up each other agree.
invariant "no two histories"
  forall e: epoch do forall h: honest do forall o: honest do
    ep[h] > e & ep[o] > e & gives_up(e, h, o) = gives_up(e, o, h) ->
      started[e][h] = started[e][o] & byz_in[e + 1][h] = byz_in[e + 1][o]
      & forall x: honest do member[e + 1][h][x] = member[e + 1][o][x] endforall
  endforall endforall endforall;

invariant "nobody honest signs two records for a slot"
  forall e: epoch do forall h: honest do
    !(stay[e][h][false] & stay[e][h][true]) & !(left[e][h][false] & left[e][h][true])
  endforall endforall;

invariant "a peer stands where its record starts"
  forall e: epoch do forall h: honest do ep[h] > e -> applied[e][h] = started[e][h] endforall endforall;

invariant "where all stay nobody does a step again"
  OPERATORS | !lost;

-- Without Byzantine peers, with links that work again and all that was said in everybody's hands.

function quiet(): boolean;
begin
  return forall h: honest do
    mo[h] = OUT
    | (mo[h] = RUN & forall o: honest do
        member[ep[h]][h][o] -> ep[o] < ep[h] | (ep[o] = ep[h] & mo[o] = RUN) | mo[o] = OUT endforall)
    | (ep[h] < EPOCHS & mo[h] = HALTED
       & !can_learn(ep[h], h)
       & !(open(ep[h], h)
           & forall o: honest do stays(ep[h], h, o) ->
               ep[o] = ep[h] & mo[o] = HALTED & applied[ep[h]][o] = applied[ep[h]][h] endforall
           & !exists o: honest do member[ep[h]][h][o] & decided(ep[h], o) endexists)
       & !exists s: boolean do
           (all_stay(ep[h], h, s) & stay[ep[h]][h][s] & !parts(ep[h], h))
           | exists o: honest do member[ep[h]][h][o] & parted(ep[h], o, s)
               & (!promised(ep[h], h) | (left[ep[h]][h][s] & named_alike(ep[h], h, o))) endexists
         endexists
       & !exists o: honest do member[ep[h]][h][o] & decided(ep[h], o)
           & !promised(ep[h], h) endexists)
  endforall;
end;

invariant "all go on once links work again"
  B = 0 & !OPERATORS & quiet()
  -> forall h: honest do
    mo[h] = OUT | (mo[h] = RUN & forall o: honest do member[ep[h]][h][o] -> ep[o] = ep[h] endforall) endforall;

invariant "who give up one that holds no certificate go on together"
  B = 0 & OPERATORS & !LATES & quiet()
  & forall h: honest do !(stay[0][h][false] | stay[0][h][true]) endforall
  -> forall x: honest do
    !applied[0][x] & (forall h: honest do h = x | named[0][h][x] endforall)
    -> forall h: honest do h = x | ep[h] > 0 endforall endforall;
