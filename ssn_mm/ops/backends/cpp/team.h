// Threads that share the phases of a pass within one parallel region.
#pragma once
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "switch_norm.h"

// A phase is a number of parts that any thread may take. Each begins with its own share, which it
// has in its cache from the phase before, the last parts best, so that it may go backwards; then it
// takes what is left of the others'. A phase is over when its parts are done, not when all threads
// have come: who is kept from its core holds nobody up but for the part it is at.
class Team {
 public:
  Team(int threads, int phases)
      : threads_(threads), queues_(threads > 1 ? new Counter[threads * phases] : nullptr),
        done_(threads > 1 ? new Counter[phases] : nullptr) {}

  template <class F> void share(int phase, int me, Int parts, bool backwards, F f) {
    if (threads_ == 1) {
      for (Int i = 0; i < parts; ++i) f(backwards ? parts - 1 - i : i);
      return;
    }
    const Int each = (parts + threads_ - 1) / threads_;
    Int mine = 0;
    for (int i = 0; i < threads_; ++i) {
      const int owner = (me + i) % threads_;
      std::atomic<Int>& next = queues_[phase * threads_ + owner].value;
      const Int first = owner * each, count = std::min(each, parts - first);
      while (next.load(std::memory_order_relaxed) < count) {
        const Int part = next.fetch_add(1, std::memory_order_relaxed);
        if (part >= count) break;
        f(first + (backwards ? count - 1 - part : part));
        ++mine;
      }
    }
    std::atomic<Int>& done = done_[phase].value;
    done.fetch_add(mine, std::memory_order_acq_rel);
    wait(done, parts);
  }

 private:
  struct alignas(64) Counter {
    std::atomic<Int> value{0};
  };
  static constexpr int kSpins = 2000;  // some 20 to 80 microseconds

  static void wait(const std::atomic<Int>& value, Int until) {
    for (int turn = 0; value.load(std::memory_order_acquire) != until; ++turn) {
      if (turn < kSpins) pause();
      else std::this_thread::yield();
    }
  }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

  int threads_;
  std::unique_ptr<Counter[]> queues_, done_;
};

// A thread's place in its team: runs one phase after the other.
class Member {
 public:
  Member(Team& team, int me) : team_(team), me_(me) {}
  // Calls f(part) for all parts, in all threads together, and returns when all are done.
  template <class F> void each(Int parts, F f) { team_.share(phase_++, me_, parts, false, f); }
  // The same, from each thread's last part to its first.
  template <class F> void each_backwards(Int parts, F f) {
    team_.share(phase_++, me_, parts, true, f);
  }

 private:
  Team& team_;
  int me_, phase_ = 0;
};

// Calls body(member) in up to so many threads, with so many phases at most. Where fewer come, they
// take the others' shares, too.
template <class F> void together(int threads, int phases, F body) {
  Team team(threads, phases);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Member member(team, omp_get_thread_num());
    body(member);
  }
}
