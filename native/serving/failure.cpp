#include "serving/failure.hpp"

#include <exception>
#include <new>
#include <string>

#include "base/error.hpp"
#include "base/problem_lines.hpp"
#include "grpc/call_failed.hpp"

namespace persia::serving {

namespace {

using grpc::Code;

Failure internal(const char* what) {
    write_problem("internal error of a call: " + std::string(what));
    return {{Code::internal, "internal error: see the server's log"}, {}};
}

}  // namespace

// As persia/errors.py has it.
Failure current_failure() {
    try {
        throw;
    } catch (const grpc::CallFailed& error) {
        Failure failure{error.status, {}};
        if (error.pushback) failure.trailers = grpc::pushback_for(*error.pushback);
        return failure;
    } catch (const InvalidInput& error) {
        return {{Code::invalid_argument, error.what()}, {}};
    } catch (const TooLarge& error) {
        return {{Code::resource_exhausted, error.what()}, {}};
    } catch (const CorruptFile& error) {
        return {{Code::data_loss, error.what()}, {}};
    } catch (const DecodeError& error) {
        return {{Code::invalid_argument, error.what()}, {}};
    } catch (const std::bad_alloc&) {
        return {{Code::resource_exhausted, "the system has no memory for the answer"}, {}};
    } catch (const std::exception& error) {
        return internal(error.what());
    } catch (...) {
        return internal("an exception that is no std::exception");
    }
}

}  // namespace persia::serving
