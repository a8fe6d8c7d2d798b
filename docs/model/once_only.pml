/*
 * Can two launchers ever run a step at the same time, and can a fleet get stuck?
 *
 * Launchers that contend for one lock, their step guards, the server that keeps lock and ledger, the clock, and what
 * may go wrong. docs/concepts/protocol-model.md explains it and says which code each part stands for.
 *
 * Time is counted in ticks. What has to happen by an instant (a guard's TERM and KILL) keeps the clock from ticking
 * past it; everything else may happen at any later moment or never. A launcher is never assumed to be quick, unless
 * TIMELY. What is written in capitals behind an assertion is the name of the property.
 */

#define N 3         /* launchers */
#ifndef FAULTS
#define FAULTS 2    /* how much may go wrong in one history */
#endif

#define G 2         /* without a good answer for so long, the step is ended ... */
#define K 1         /* ... and is dead so much later at most */
#ifdef NO_MARGIN
#define MARGIN 0
#else
#define MARGIN 1    /* what a busy host may add to that */
#endif
#ifdef SHORT_EXPIRY
#define R (G + K)
#else
#define R (G + K + MARGIN + 1)      /* a session that is silent for so long loses the lock: G + K + margin < R */
#endif
#define H 1         /* TIMELY only: a launcher asks this often */

#ifdef NO_GRACE
#define PAUSE 0
#else
#define PAUSE (G + K + MARGIN)      /* how long a successor waits that finds `running` */
#endif

#ifdef TWO_RELEASES                 /* launcher 2 is of another release: the same lock, another record */
#define KEYS 2
#define KEY(i) ((i) == 2 -> 1 : 0)
#else
#define KEYS 1
#define KEY(i) 0
#endif

#if defined(TIMELY) && !defined(LIVENESS)
#define HIT(i) hit[i] = true
#define ASSERT_HIT(i) assert(hit[i])
#else
#define HIT(i) skip
#define ASSERT_HIT(i) skip
#endif

/*
 * Launchers of one release are alike, so any history can be told with other numbers: those that get the lock are
 * numbered in the order in which they get it (each gets it once), those that never get it in the reverse order of
 * leaving.
 * Only these tellings are searched: a sixth of all.
 */
#ifdef RENAMED
#define NEXT(i) ((i) == turn)
#define TURN turn++
#define HAS_LEFT(i) ((i) >= N || at[(i) % N] != WAITING)
#define LAST(i) (at[i] != WAITING || (HAS_LEFT((i) + 1) && HAS_LEFT((i) + 2)))
#else
#define NEXT(i) true
#define TURN skip
#define LAST(i) true
#endif

#define NOBODY N

/* Where a launcher is. */
mtype:place = {
    WAITING,                /* tries the lock, looks whether the work is done */
    BLOCKED,                /* BLOCKING_WAIT only: waits inside the database */
    HOLDING,                /* has the lock, has not read the ledger yet */
    FOUND,                  /* has read `running` in the ledger */
    PAUSING,                /* has asked since then: waits until the owner of that record is certainly at an end */
    FREE_TO_BEGIN,          /* knows that it is its turn, will write `running` */
    BEGUN,                  /* has written `running` */
    CONFIRMED,              /* has asked since then: the lock is still its own */
    RUNNING,                /* its guard runs the step */
    ANSWERED,               /* as RUNNING, with a good answer that the guard has not been told */
    LOSING,                 /* has lost the lock: waits for the end of its step */
    ENDED,                  /* its step has ended by itself */
    CHECKED,                /* has asked once more: may write the end */
    RECORDED,               /* has written the end: gives the lock back */
    SERVING, GONE, KILLED
}

mtype:life = { NONE, STEP, TERMED, OK, FAILED, DEAD }              /* of a launcher's step */
mtype:entry = { EMPTY, BUSY, DONE, BROKEN }                        /* what the ledger says of a key; BUSY: `running` */

mtype:place at[N] = WAITING;
bool stopped[N], cut[N];    /* SIGSTOP; no message gets through */
bool hit[N];                /* for a property: something went wrong with it */
byte since[N];              /* PAUSING: ticks since then; CONFIRMED, ANSWERED: since the question was sent */
byte mine[N];               /* the token of its own record; before BEGUN: the newest when it looked, under the lock */

mtype:life step[N] = NONE;
byte timer[N];              /* STEP: ticks since the last confirmed question was sent; TERMED: ticks left until KILL */

byte owner = NOBODY;        /* the lock, as the server sees it */
byte idle;                  /* ticks since the owner's session was last heard of */
bool session[N];            /* a holder's session is there, with the lock or (after FORGET) without */
mtype:entry ledger[KEYS] = EMPTY;
byte written[KEYS];         /* the token of the record */
byte token;                 /* the newest of all: each beginning takes the next */

byte faults;
#ifdef RENAMED
byte turn;                  /* how many have had the lock */
#endif
/* For the properties alone: a step of this key has been carried out to its end; the ledger has said `done` of it. */
bool good[KEYS];
bool done[KEYS];

#define ACTIVE(i) (step[i] == STEP || step[i] == TERMED)
#define SETTLED(i) (at[i] == SERVING || at[i] == GONE || at[i] == KILLED)
#define CAN(i) (!stopped[i])
#define TALKS(i) (!stopped[i] && !cut[i])
#define ALL(P) (P(0) && P(1) && P(2))
#define ANY(P) (P(0) || P(1) || P(2))
#define OF_KEY(i) (ACTIVE(i) && KEY(i) == k)

/* ---------------------------------------------------------------------------------------------------- the launcher */

inline leave(i, where) {
    at[i] = where;
    since[i] = 0; mine[i] = 0; session[i] = false; hit[i] = false; stopped[i] = false; cut[i] = false;
    if
    :: !ACTIVE(i) -> step[i] = NONE
    :: else
    fi
}

/* The end of a launcher closes its session; if nothing gets through, the server learns it by silence only. */
inline give_up(i) {
    ASSERT_HIT(i);          /* NOT FOR NOTHING */
    if
    :: owner == i && !cut[i] -> owner = NOBODY; idle = 0
    :: else
    fi;
    leave(i, GONE)
}

inline serve(i) {
    k = KEY(i);
    assert(good[k]);        /* NEVER HALF: no server without the step ... */
    assert(!ANY(OF_KEY));   /* NEVER BESIDE: ... nor while it runs */
    k = 0;
    leave(i, SERVING)
}

/* Something only the owner may ask: from now on its session is not silent. */
inline heard(i) {
    if
    :: owner == i -> idle = 0
    :: else
    fi
}

#define LEDGER_DONE(i) (ledger[KEY(i)] == DONE)
#ifdef NO_RECHECK
#define SEEN_DONE(i) false
#else
#define SEEN_DONE(i) LEDGER_DONE(i)
#endif
#define OPEN(k) (ledger[k] == BUSY && written[k] == token)     /* of an older one: its successor has waited */
#ifdef OWN_RECORD_ONLY
#define SOMEBODY_BUSY(i) OPEN(KEY(i))
#elif defined(TWO_RELEASES)
#define SOMEBODY_BUSY(i) (OPEN(0) || OPEN(1))
#else
#define SOMEBODY_BUSY(i) OPEN(0)
#endif

#ifdef BLIND_BEGIN          /* nobody has begun since it looked: the lock may have gone since then */
#define MAY_BEGIN(i) true
#else
#define MAY_BEGIN(i) (token == mine[i])
#endif

#ifdef NO_TOKEN
#define MAY_FINISH(i) (ledger[KEY(i)] == BUSY)
#elif defined(TOKEN_ALONE)
#define MAY_FINISH(i) (token == mine[i])
#else
#define MAY_FINISH(i) (token == mine[i] && ledger[KEY(i)] == BUSY)
#endif

#define ASKING(i) (at[i] == FOUND || at[i] == PAUSING || at[i] == BEGUN || at[i] == ENDED)
#define UNDER_LOCK(i) (ASKING(i) || at[i] == HOLDING || at[i] == FREE_TO_BEGIN || at[i] == CHECKED || at[i] == RECORDED)

inline start_step(i, age) {
    assert(!ANY(ACTIVE));   /* NEVER TWO */
    step[i] = STEP;
    timer[i] = age;
    since[i] = 0;
    at[i] = RUNNING
}

proctype launcher(byte i) {
    byte k;
end:
    do
    /* -- waiting: never inside the database, and not for the lock when the work is done */
    :: d_step { at[i] == WAITING && TALKS(i) && LEDGER_DONE(i) && LAST(i) -> serve(i) }
    :: d_step { at[i] == WAITING && TALKS(i) && owner == NOBODY && NEXT(i) ->
           TURN; owner = i; idle = 0; session[i] = true; at[i] = HOLDING }
#ifdef FAIL_OPEN
    :: d_step { at[i] == WAITING && CAN(i) && LAST(i) -> serve(i) }
#endif
#ifdef BLOCKING_WAIT
    :: d_step { at[i] == WAITING && TALKS(i) && owner != NOBODY -> at[i] = BLOCKED }
    :: d_step { at[i] == BLOCKED && owner == NOBODY ->      /* the server wakes it up */
           owner = i; idle = 0; session[i] = true; at[i] = HOLDING }
#endif

    /* -- under the lock: look again, wait for the end of whoever has not said how it ended */
    :: d_step { at[i] == HOLDING && TALKS(i) && session[i] ->
           heard(i);
           mine[i] = token;
           if
           :: SEEN_DONE(i) -> mine[i] = 0; at[i] = RECORDED
           :: !SEEN_DONE(i) && SOMEBODY_BUSY(i) -> at[i] = FOUND
           :: !SEEN_DONE(i) && !SOMEBODY_BUSY(i) -> at[i] = FREE_TO_BEGIN
           fi }
#ifdef UNASKED_TAKEOVER
    :: d_step { at[i] == FOUND && CAN(i) -> since[i] = 0; at[i] = PAUSING }
#else
    :: d_step { at[i] == FOUND && TALKS(i) && session[i] && owner == i -> idle = 0; since[i] = 0; at[i] = PAUSING }
#endif
    :: d_step { at[i] == PAUSING && TALKS(i) && session[i] && since[i] < PAUSE && idle > 0 && owner == i -> idle = 0 }
    :: d_step { at[i] == PAUSING && TALKS(i) && session[i] && since[i] >= PAUSE ->
           heard(i);
           for (k : 0 .. KEYS - 1) {    /* close what was left open, unless its owner has ended it after all */
               if
               :: OPEN(k) && written[k] == mine[i] -> ledger[k] = BROKEN
#ifdef TOKEN_ALONE
               :: ledger[k] == DONE && written[k] == mine[i] && k == KEY(i) -> ledger[k] = BROKEN
#endif
               :: else
               fi
           }
           k = 0; since[i] = 0;
           if
           :: SEEN_DONE(i) -> mine[i] = 0; at[i] = RECORDED
           :: else -> at[i] = FREE_TO_BEGIN
           fi }
    :: d_step { at[i] == FREE_TO_BEGIN && TALKS(i) && session[i] && !MAY_BEGIN(i) ->
           HIT(i); give_up(i) }         /* not for nothing: somebody has begun who had lost the lock unawares */
    :: d_step { at[i] == FREE_TO_BEGIN && TALKS(i) && session[i] && MAY_BEGIN(i) ->
           heard(i);
           k = KEY(i);
           assert(!done[k]);        /* ONCE: what was recorded as done is not begun again */
           token++; written[k] = token; mine[i] = token; ledger[k] = BUSY; k = 0;
           at[i] = BEGUN }

    /* -- the lock is asked for after `running` was written, and what the guard is told is when that was */
#ifdef UNCONFIRMED_START
    :: d_step { at[i] == BEGUN && CAN(i) -> start_step(i, 0) }
#else
    :: d_step { at[i] == BEGUN && TALKS(i) && session[i] && owner == i -> idle = 0; since[i] = 0; at[i] = CONFIRMED }
#ifdef LEASE_FROM_START
    :: d_step { at[i] == CONFIRMED && CAN(i) -> start_step(i, 0) }
#else
    :: d_step { at[i] == CONFIRMED && CAN(i) && since[i] < G -> start_step(i, since[i]) }
    :: d_step { at[i] == CONFIRMED && CAN(i) && since[i] >= G -> since[i] = 0; at[i] = BEGUN }
#endif
#endif

    /* -- while the step runs: ask, and tell the guard when the question was sent */
    :: d_step { at[i] == RUNNING && step[i] == STEP && TALKS(i) && session[i] && owner == i && timer[i] > 0 ->
           idle = 0; since[i] = 0; at[i] = ANSWERED }
    :: d_step { at[i] == ANSWERED && CAN(i) ->
           if
#ifdef WORD_WITHOUT_TIME
           :: step[i] == STEP -> timer[i] = 0
#else
           :: step[i] == STEP && since[i] < timer[i] -> timer[i] = since[i]
#endif
           :: else
           fi;
           since[i] = 0; at[i] = RUNNING }

    /* -- the lock is lost: an answer says so, or the session's end; or no answer comes */
    :: d_step { UNDER_LOCK(i) && CAN(i) && (cut[i] || !session[i]) -> give_up(i) }
    :: d_step { ASKING(i) && TALKS(i) && session[i] && owner != i -> give_up(i) }
    :: d_step { at[i] == WAITING && CAN(i) && cut[i] && LAST(i) -> give_up(i) }
    :: d_step { at[i] == RUNNING && step[i] == STEP && CAN(i) &&
                (!session[i] || (!cut[i] && owner != i) || (cut[i] && timer[i] >= G)) ->
           step[i] = TERMED; timer[i] = K; since[i] = 0; at[i] = LOSING }
    :: d_step { (at[i] == LOSING || at[i] == RUNNING) && CAN(i) && step[i] == DEAD -> give_up(i) }

    /* -- the step has ended by itself: ask once more, write the end, give the lock back, and only then serve */
    :: d_step { (at[i] == RUNNING) && CAN(i) && (step[i] == OK || step[i] == FAILED) -> at[i] = ENDED }
    :: d_step { at[i] == ENDED && TALKS(i) && session[i] && owner == i -> idle = 0; at[i] = CHECKED }
    :: d_step { at[i] == CHECKED && TALKS(i) && session[i] ->
           heard(i);
           k = KEY(i);
           if
           :: MAY_FINISH(i) ->
                  if
                  :: step[i] == OK -> ledger[k] = DONE; done[k] = true
                  :: else -> ledger[k] = BROKEN
                  fi;
                  k = 0; mine[i] = 0;
                  at[i] = RECORDED
           :: else -> k = 0; give_up(i)
           fi }
    :: d_step { at[i] == RECORDED && TALKS(i) && session[i] && owner == i ->
           owner = NOBODY; idle = 0;
           if
           :: step[i] == FAILED -> HIT(i); give_up(i)
           :: else -> serve(i)
           fi }
    :: d_step { at[i] == RECORDED && TALKS(i) && session[i] && owner != i -> give_up(i) }
    od
}

/* ------------------------------------------------------------------------------------------ the guard and its step */

#ifdef BLOCKING_WAIT        /* CREATE INDEX CONCURRENTLY waits for every session that waits inside the database */
#define WAITS_INSIDE(i) (at[i] == BLOCKED)
#define STEP_CAN_END (!ANY(WAITS_INSIDE))
#else
#define STEP_CAN_END true
#endif

#ifdef NO_GUARD_LEASE
#define LAPSED(i) false
#else
#define LAPSED(i) (timer[i] >= G)
#endif

inline over(i, how) {
    timer[i] = 0;
    if
    :: at[i] == KILLED || at[i] == GONE -> step[i] = NONE
    :: else -> step[i] = how
    fi
}

/* One process for all guards: no more than one has a step, so none can keep another from its turn (fairness). */
#define GUARD(i) \
    :: d_step { step[i] == STEP && STEP_CAN_END -> good[KEY(i)] = true; over(i, OK) } \
    :: d_step { step[i] == STEP && (LAPSED(i) || at[i] == KILLED) -> step[i] = TERMED; timer[i] = K } \
    :: d_step { step[i] == TERMED -> over(i, DEAD) } \
    :: d_step { step[i] == TERMED && STEP_CAN_END -> good[KEY(i)] = true; over(i, DEAD) }

proctype guards() {
end:
    do
    GUARD(0)
    GUARD(1)
    GUARD(2)
    od
}

/* ---------------------------------------------------------------------------------------- the clock and the server */

#define OVERDUE(i) ((step[i] == STEP && (LAPSED(i) || at[i] == KILLED)) || (step[i] == TERMED && timer[i] == 0))

#ifdef TIMELY               /* a launcher that is neither stopped nor cut off acts before the next tick */
#define LATE(i) (CAN(i) && ( \
    (TALKS(i) && ((UNDER_LOCK(i) && at[i] != PAUSING) \
                  || (at[i] == PAUSING && (since[i] >= PAUSE || idle >= H || owner != i)) \
                  || (at[i] == RUNNING && timer[i] >= H))) \
    || at[i] == CONFIRMED || at[i] == ANSWERED \
    || ((at[i] == RUNNING || at[i] == LOSING) && !ACTIVE(i)) \
    || (at[i] == RUNNING && timer[i] >= G)))
#else
#define LATE(i) false
#endif

inline count(variable, most) {
    if
    :: variable < (most) -> variable++
    :: else
    fi
}

#define SILENT (owner != NOBODY && idle >= R)
#ifdef TIMELY
#define SERVER_LATE SILENT
#else
#define SERVER_LATE false   /* it may give the lock away later than it could */
#endif

proctype clock() {
    byte i;
    do
    :: d_step { SILENT ->
           assert(!ACTIVE(owner));  /* DEAD IN TIME: when silence alone costs it the lock, its step is dead */
           session[owner] = false;
           if
           :: !SETTLED(owner) -> HIT(owner)
           :: else
           fi;
           owner = NOBODY; idle = 0 }
    :: d_step { !ANY(OVERDUE) && !ANY(LATE) && !SERVER_LATE && !(ALL(SETTLED) && !ANY(ACTIVE) && owner == NOBODY) ->
           for (i : 0 .. N - 1) {
               if
               :: at[i] == PAUSING -> count(since[i], PAUSE)
               :: at[i] == CONFIRMED || at[i] == ANSWERED -> count(since[i], G)
               :: else
               fi;
               if
               :: step[i] == STEP -> count(timer[i], G)
               :: step[i] == TERMED -> timer[i]--
               :: else
               fi
           }
           if
           :: owner != NOBODY -> count(idle, R)
           :: else
           fi;
           i = 0 }
    :: atomic { ALL(SETTLED) && !ANY(ACTIVE) && owner == NOBODY -> break }
    od
}

/* ----------------------------------------------------------------------------------------------- what may go wrong */

#define WRONG(i) (faults < FAULTS && !SETTLED(i))

inline kill(i) {
    faults++;
    if
    :: owner == i && !cut[i] -> owner = NOBODY; idle = 0    /* the kernel closes the session ... */
    :: owner == i -> skip           /* ... unless its host is cut off or gone: then silence tells */
    :: owner != i -> skip
    fi;
    leave(i, KILLED)
}

#define MISHAPS(i) \
    :: atomic { WRONG(i) && LAST(i) -> kill(i) } \
    :: atomic { WRONG(i) && owner == i ->   /* the session ends: an administrator, a restart, a fail-over */ \
           faults++; owner = NOBODY; idle = 0; session[i] = false; HIT(i) } \
    :: atomic { WRONG(i) && owner == i ->   /* the session stays, the lock is forgotten: DISCARD ALL, FLUSHALL */ \
           faults++; owner = NOBODY; idle = 0; HIT(i) } \
    :: atomic { WRONG(i) && step[i] == STEP -> faults++; step[i] = FAILED; timer[i] = 0; HIT(i) }

/* Without TIMELY a launcher may be slow for as long as it likes anyway. */
#define DELAYS(i) \
    :: atomic { WRONG(i) && !stopped[i] -> faults++; stopped[i] = true; HIT(i) } \
    :: atomic { WRONG(i) && !cut[i] -> faults++; cut[i] = true; HIT(i) } \
    :: atomic { stopped[i] -> stopped[i] = false } \
    :: atomic { cut[i] -> cut[i] = false }

active proctype world() {
    byte i;
    atomic {
        for (i : 0 .. N - 1) { run launcher(i) }
        i = 0;
        run guards();
        run clock()
    }
end:
    do
    MISHAPS(0)
    MISHAPS(1)
    MISHAPS(2)
#ifdef TIMELY
    DELAYS(0)
    DELAYS(1)
    DELAYS(2)
#endif
#ifdef LIVENESS
    :: break                /* from now on nothing goes wrong any more */
#endif
    od
}

#define AT_REST(i) (SETTLED(i) || stopped[i])

#ifdef LIVENESS                 /* NEVER STUCK */
ltl settles { <> [] (AT_REST(0) && AT_REST(1) && AT_REST(2)) }
#endif
