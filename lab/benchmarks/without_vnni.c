/* Hides AVX-512, AMX and VNNI from the CPUID of a process (x86-64 Linux), so that it runs as on a
   CPU with AVX2 only, at full speed:  LD_PRELOAD=without_vnni.so PROGRAM

   CPUID is made to fault where the processor can do that, and the fault is answered here. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1u << (n))

static void allow_cpuid(int yes)
{
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, yes)) {
        perror("CPUID cannot be made to fault here");
        exit(1);
    }
}

static void answer(int signal_number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;

    if (code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID: a real fault */
        signal(signal_number, SIG_DFL);
        return;
    }
    allow_cpuid(1);
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "0"(leaf), "2"(part));
    allow_cpuid(0);
    if (leaf == 7 && part == 0) {
        b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31)); /* AVX-512 */
        c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));            /* and its VNNI */
        d &= ~(BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));           /* and AMX */
    }
    if (leaf == 7 && part == 1) {
        a &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23)); /* AVX-VNNI */
        d &= ~(BIT(4) | BIT(5) | BIT(10));           /* AVX-VNNI-INT8 and -INT16 */
    }
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void)
{
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};

    sigaction(SIGSEGV, &action, NULL);
    allow_cpuid(0);
}
